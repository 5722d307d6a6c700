# The APIs, and the time the cloud takes to know of them.

locals {
  apis = toset([
    "artifactregistry.googleapis.com",
    "biglake.googleapis.com",
    "cloudbuild.googleapis.com",
    "cloudfunctions.googleapis.com",
    "cloudresourcemanager.googleapis.com",
    "cloudscheduler.googleapis.com",
    "iam.googleapis.com",
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "pubsub.googleapis.com",
    "run.googleapis.com",
    "secretmanager.googleapis.com",
    "storage.googleapis.com",
  ])
}

resource "google_project_service" "api" {
  for_each = local.apis
  provider = google.before_apis

  project            = var.project_id
  service            = each.key
  disable_on_destroy = false # others in the project may use it
}

# An API that was enabled a moment ago still answers "disabled" here and there.
resource "terraform_data" "apis_known" {
  triggers_replace = sort([for each in google_project_service.api : each.service])

  provisioner "local-exec" {
    command = "sleep ${var.settle_seconds}"
  }
}
