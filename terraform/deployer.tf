# Who brings the code: Cloud Build's own account, and the people in `deployers`. They may give what
# is there new code. They may not make or delete anything, nor change who may do what.

locals {
  # What a deploy does, permission by permission. `make deploy` looks for the same before it begins.
  deploy_permissions = jsondecode(file("${path.module}/data/deploy_permissions.json"))

  deployers = merge(
    { "quotewatch-deploy" = local.members["deploy"] },
    { for member in var.deployers : member => member },
  )

  # Whoever deploys something that runs as an account must be allowed to act as it; and whoever has
  # Cloud Build deploy, as the account that does.
  acted_as = concat(keys(local.functions), ["gateway", "build"])
  acting = merge(
    { for pair in setproduct(keys(local.deployers), local.acted_as) : "${pair[0]} as ${pair[1]}" => { member = local.deployers[pair[0]], account = pair[1] } },
    { for member in var.deployers : "${member} as deploy" => { member = member, account = "deploy" } },
  )
}

resource "google_project_iam_custom_role" "deploy" {
  role_id     = "quotewatchDeploy"
  title       = "QuoteWatch: deploys code"
  description = "May give functions and the gateway new code, and see whether they are well."
  permissions = sort(keys(local.deploy_permissions.project))

  depends_on = [terraform_data.apis_known]
}

resource "google_project_iam_custom_role" "upload" {
  role_id     = "quotewatchUpload"
  title       = "QuoteWatch: uploads sources"
  description = "May put something new into a bucket, and neither read nor replace nor delete what is there."
  permissions = sort(keys(local.deploy_permissions.bucket))

  depends_on = [terraform_data.apis_known]
}

resource "google_project_iam_member" "deployer" {
  for_each = local.deployers

  project = var.project_id
  role    = "projects/${var.project_id}/roles/${google_project_iam_custom_role.deploy.role_id}"
  member  = each.value
}

resource "google_service_account_iam_member" "acting" {
  for_each = local.acting

  service_account_id = "projects/${var.project_id}/serviceAccounts/${local.emails[each.value.account]}"
  role               = "roles/iam.serviceAccountUser"
  member             = each.value.member
}

# The frame that a deploy tries everything with.
resource "google_pubsub_topic_iam_member" "probe" {
  for_each = local.deployers

  topic  = local.topics["features"]
  role   = "roles/pubsub.publisher"
  member = each.value
}

# Where sources are uploaded to.
resource "google_storage_bucket_iam_member" "upload" {
  for_each = local.deployers

  bucket = google_storage_bucket.source.name
  role   = "projects/${var.project_id}/roles/${google_project_iam_custom_role.upload.role_id}"
  member = each.value
}

# The gateway may only be given an image that whoever deploys can read.
resource "google_artifact_registry_repository_iam_member" "reader" {
  for_each = toset(var.deployers)

  location   = google_artifact_registry_repository.images.location
  repository = google_artifact_registry_repository.images.repository_id
  role       = "roles/artifactregistry.reader"
  member     = each.key
}
