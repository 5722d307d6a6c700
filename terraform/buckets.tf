# Buckets. The first two hold what cannot be had again: Terraform refuses to destroy them.

locals {
  # Which prefix of the objects' bucket a component needs. Not only to create: creating where
  # something is already, or looking where nothing is, must be answered, not denied.
  folder_roles = {
    gateway = { folder = "spool", role = "roles/storage.objectUser" }
    write   = { folder = "quarantine", role = "roles/storage.objectUser" }
    train   = { folder = "models", role = "roles/storage.objectUser" }
    predict = { folder = "models", role = "roles/storage.objectViewer" }
  }
}

# The tables' files.
resource "google_storage_bucket" "warehouse" {
  #checkov:skip=CKV_GCP_62:access logs would cost more than the data; audit logs tell who changed what
  name     = "${var.project_id}-quotewatch-warehouse"
  location = var.region

  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = false

  versioning {
    enabled = true
  }

  # What `maintain` compacted and swept away stays a week, in case it should not have been.
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      days_since_noncurrent_time = 7
      with_state                 = "ARCHIVED"
    }
  }

  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }
    condition {
      age = 1
    }
  }

  soft_delete_policy {
    retention_duration_seconds = 604800
  }

  lifecycle {
    prevent_destroy = true
  }

  depends_on = [terraform_data.apis_known]
}

# Models, quarantine, and what the gateway could not publish.
resource "google_storage_bucket" "objects" {
  #checkov:skip=CKV_GCP_62:access logs would cost more than the data; audit logs tell who changed what
  name     = "${var.project_id}-quotewatch-objects"
  location = var.region

  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = false

  versioning {
    enabled = true
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      days_since_noncurrent_time = 7
      with_state                 = "ARCHIVED"
    }
  }

  soft_delete_policy {
    retention_duration_seconds = 604800
  }

  lifecycle {
    prevent_destroy = true
  }

  depends_on = [terraform_data.apis_known]
}

# What builds are made from. Git has it as well.
resource "google_storage_bucket" "source" {
  #checkov:skip=CKV_GCP_62:holds our own source for a month, nothing to log
  name     = "${var.project_id}-quotewatch-source"
  location = var.region

  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true

  versioning {
    enabled = true
  }

  # Not the stub: without it no function could be made again.
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age            = 30
      matches_prefix = ["builds/", "gateway/"]
      with_state     = "ANY"
    }
  }

  depends_on = [terraform_data.apis_known]
}

resource "google_storage_managed_folder" "objects" {
  for_each = toset([for each in local.folder_roles : each.folder])

  bucket = google_storage_bucket.objects.name
  name   = "${each.key}/"
}

resource "google_storage_managed_folder_iam_member" "user" {
  for_each = local.folder_roles

  bucket         = google_storage_managed_folder.objects[each.value.folder].bucket
  managed_folder = google_storage_managed_folder.objects[each.value.folder].name
  role           = each.value.role
  member         = local.members[each.key]
}
