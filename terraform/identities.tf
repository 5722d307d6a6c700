# One service account per component. What each may do stands beside the thing it may do it with;
# here is only what no single thing can carry.

locals {
  accounts = merge(
    { for name, _ in local.functions : name => "QuoteWatch: function ${name}" },
    {
      gateway   = "QuoteWatch: the gateway"
      scheduler = "QuoteWatch: Cloud Scheduler, when it calls functions"
      push      = "QuoteWatch: Pub/Sub, when it pushes to functions"
      build     = "QuoteWatch: builds functions and the gateway's image"
      deploy    = "QuoteWatch: Cloud Build, when it deploys"
    },
  )

  # Every process that counts something. The role cannot be narrowed to our metrics.
  measured = toset(concat(keys(local.functions), ["gateway"]))

  # Spelled out from what is known before anything is made, so that the first plan shows it all.
  emails  = { for name, account in google_service_account.component : name => "${account.account_id}@${var.project_id}.iam.gserviceaccount.com" }
  members = { for name, email in local.emails : name => "serviceAccount:${email}" }

  # The number of the project, which names Google's own accounts in it.
  project_number = google_storage_bucket.warehouse.project_number
  pubsub_agent   = "serviceAccount:service-${local.project_number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

resource "google_service_account" "component" {
  for_each = local.accounts

  account_id   = "quotewatch-${each.key}"
  display_name = each.value

  depends_on = [terraform_data.apis_known]
}

resource "google_project_iam_member" "metric_writer" {
  for_each = local.measured

  project = var.project_id
  role    = "roles/monitoring.metricWriter"
  member  = local.members[each.key]
}

# BigLake asks who is billed for a call (x-goog-user-project), and whether the caller may say so.
resource "google_project_iam_custom_role" "billed_caller" {
  role_id     = "quotewatchBilledCaller"
  title       = "QuoteWatch: calls billed to this project"
  description = "May name this project as the one that is billed for a call."
  permissions = ["serviceusage.services.use"]

  depends_on = [terraform_data.apis_known]
}

resource "google_project_iam_member" "billed_caller" {
  for_each = local.catalog_roles

  project = var.project_id
  role    = "projects/${var.project_id}/roles/${google_project_iam_custom_role.billed_caller.role_id}"
  member  = local.members[each.key]
}

# Who looks at the dashboards. Metrics cannot be shared one by one.
resource "google_project_iam_member" "grafana_viewer" {
  for_each = toset(var.grafana_viewers)

  project = var.project_id
  role    = "roles/monitoring.viewer"
  member  = each.key

  depends_on = [terraform_data.apis_known]
}

# A permission that was granted a moment ago is not known everywhere yet: a function made before
# fails to build, and its first calls are refused.
resource "terraform_data" "permissions_known" {
  triggers_replace = sort(keys(local.accounts))

  provisioner "local-exec" {
    command = "sleep ${var.settle_seconds}"
  }

  depends_on = [
    google_artifact_registry_repository_iam_member.writer,
    google_project_iam_member.build_log,
    google_project_iam_member.build_source,
    google_secret_manager_secret_iam_member.catalog_reader,
    google_storage_bucket_iam_member.build_source,
    google_storage_managed_folder_iam_member.user,
  ]
}
