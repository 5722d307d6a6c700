# Images: the gateway's, and those that functions are built into.

resource "google_artifact_registry_repository" "images" {
  #checkov:skip=CKV_GCP_84:images of public code and public packages; Google's own keys are enough
  repository_id = "quotewatch"
  location      = var.region
  format        = "DOCKER"
  description   = "Images of the gateway and of the functions."

  cleanup_policies {
    id     = "keep-the-newest"
    action = "KEEP"
    most_recent_versions {
      keep_count = 10 # so many steps a rollback can go back
    }
  }

  cleanup_policies {
    id     = "delete-after-a-month"
    action = "DELETE"
    condition {
      older_than = "2592000s"
    }
  }

  depends_on = [terraform_data.apis_known]
}

resource "google_artifact_registry_repository_iam_member" "writer" {
  for_each = toset(["build", "deploy"])

  location   = google_artifact_registry_repository.images.location
  repository = google_artifact_registry_repository.images.repository_id
  role       = "roles/artifactregistry.writer"
  member     = local.members[each.key]
}

# The account that builds reads the source it builds, and says how it went.
resource "google_storage_bucket_iam_member" "build_source" {
  for_each = toset(["build", "deploy"])

  bucket = google_storage_bucket.source.name
  role   = "roles/storage.objectViewer"
  member = local.members[each.key]
}

# Cloud Functions keeps sources in buckets of its own, which do not exist before the first function.
resource "google_project_iam_member" "build_source" {
  project = var.project_id
  role    = "roles/storage.objectViewer"
  member  = local.members["build"]

  condition {
    title       = "sources of functions"
    description = "Only the buckets in which Cloud Functions keeps sources."
    expression  = "resource.name.startsWith('projects/_/buckets/gcf-v2-')"
  }
}

resource "google_project_iam_member" "build_log" {
  for_each = toset(["build", "deploy"])

  project = var.project_id
  role    = "roles/logging.logWriter"
  member  = local.members[each.key]
}
