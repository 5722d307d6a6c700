# The functions: how they run, and who may call them. Their code comes with `make deploy` or Cloud
# Build; until then a stub refuses every call, so that nothing is acked or taken for done.

locals {
  ack_deadline_seconds = 60

  # Memory, time and concurrency of each. A test holds this map to the doors in functions/.
  # Memory as measured (docs/decisions), with room; files in /tmp count as memory.
  # `budget`: the setting and the seconds after which a call stops by itself, before it is stopped.
  functions = {
    write = {
      memory          = "1Gi"
      cpu             = "1"
      timeout_seconds = 120
      concurrency     = 1
      max_instances   = 1
      schedule        = "* * * * *"
      budget          = { WRITE_BUDGET_S = 45 }
    }
    label = {
      memory          = "1Gi"
      cpu             = "1"
      timeout_seconds = 120
      concurrency     = 1
      max_instances   = 1
      schedule        = "*/5 * * * *"
      budget          = { LABEL_BUDGET_S = 45 }
    }
    predict = {
      memory          = "1Gi"
      cpu             = "1"
      timeout_seconds = 60
      concurrency     = 4
      max_instances   = 3
      schedule        = null
      budget          = {}
    }
    train = {
      memory          = "1Gi"
      cpu             = "1"
      timeout_seconds = 120
      concurrency     = 1
      max_instances   = 1
      schedule        = "*/5 * * * *"
      budget          = { TRAIN_BUDGET_S = 45 }
    }
    reconcile = {
      memory          = "1Gi"
      cpu             = "1"
      timeout_seconds = 240
      concurrency     = 1
      max_instances   = 1
      schedule        = "*/5 * * * *"
      budget          = { RECONCILE_BUDGET_S = 60 }
    }
    maintain = {
      memory          = "2Gi"
      cpu             = "1"
      timeout_seconds = 540
      concurrency     = 1
      max_instances   = 1
      schedule        = "*/10 * * * *"
      budget          = {}
    }
  }

  # What every process is told.
  settings = {
    ENVIRONMENT             = var.environment
    QUOTEWATCH_BUS          = "pubsub"
    QUOTEWATCH_PROJECT      = var.project_id
    QUOTEWATCH_PRODUCTS     = join(",", var.products)
    QUOTEWATCH_FEED_DIALECT = var.feed_dialect
  }
}

resource "google_storage_bucket_object" "stub" {
  name   = "stub/${filesha256("${path.module}/stub/source.zip")}.zip"
  bucket = google_storage_bucket.source.name
  source = "${path.module}/stub/source.zip"
}

resource "google_cloudfunctions2_function" "function" {
  for_each = local.functions

  name        = each.key
  location    = var.region
  description = "QuoteWatch: ${each.key}"

  build_config {
    runtime           = "python312"
    entry_point       = each.key
    docker_repository = "projects/${var.project_id}/locations/${var.region}/repositories/${google_artifact_registry_repository.images.repository_id}"
    service_account   = "projects/${var.project_id}/serviceAccounts/${local.emails["build"]}"

    source {
      storage_source {
        bucket = google_storage_bucket.source.name
        object = google_storage_bucket_object.stub.name
      }
    }
  }

  service_config {
    available_memory                 = each.value.memory
    available_cpu                    = each.value.cpu
    timeout_seconds                  = each.value.timeout_seconds
    max_instance_request_concurrency = each.value.concurrency
    min_instance_count               = 0
    max_instance_count               = each.value.max_instances
    ingress_settings                 = "ALLOW_INTERNAL_ONLY"
    all_traffic_on_latest_revision   = true
    service_account_email            = local.emails[each.key]

    environment_variables = merge(
      local.settings,
      {
        QUOTEWATCH_OBJECTS        = "gs://${google_storage_bucket.objects.name}"
        QUOTEWATCH_HORIZON_MS     = join(",", var.horizons_ms)
        QUOTEWATCH_ACK_DEADLINE_S = tostring(local.ack_deadline_seconds)
        LOG_EXECUTION_ID          = "true" # the cloud adds it; said here, a second apply finds nothing new
      },
      { for name, seconds in each.value.budget : "QUOTEWATCH_${name}" => tostring(seconds) },
    )

    dynamic "secret_environment_variables" {
      for_each = contains(keys(local.catalog_roles), each.key) ? [google_secret_manager_secret.catalog] : []

      content {
        key        = "QUOTEWATCH_CATALOG"
        project_id = var.project_id
        secret     = secret_environment_variables.value.secret_id
        version    = "latest"
      }
    }
  }

  lifecycle {
    # Deploying brings the code and says how it is built. Not its parts one by one: a change to any of
    # them would send all of it, the stub included.
    ignore_changes = [build_config]
  }

  depends_on = [
    terraform_data.permissions_known,
    google_secret_manager_secret_version.catalog,
  ]
}

# A function of the second generation is a service of Cloud Run, and is called as one. Nobody else
# may: not everyone, and not from outside the project.
resource "google_cloud_run_v2_service_iam_member" "scheduler" {
  for_each = local.schedules

  name     = google_cloudfunctions2_function.function[each.key].name
  location = var.region
  role     = "roles/run.invoker"
  member   = local.members["scheduler"]
}

resource "google_cloud_run_v2_service_iam_member" "push" {
  for_each = toset(["label", "predict"])

  name     = google_cloudfunctions2_function.function[each.key].name
  location = var.region
  role     = "roles/run.invoker"
  member   = local.members["push"]
}
