# The tables' catalog: BigLake's, which speaks Iceberg REST. Its own compaction is off: that needs
# vended credentials, and a commit beside the one helper that keeps the ledger would hide it.

locals {
  # Who changes tables, and who only reads them.
  catalog_roles = {
    write     = { catalog = "roles/biglake.editor", files = "roles/storage.objectUser" }
    label     = { catalog = "roles/biglake.editor", files = "roles/storage.objectUser" }
    reconcile = { catalog = "roles/biglake.editor", files = "roles/storage.objectUser" }
    maintain  = { catalog = "roles/biglake.editor", files = "roles/storage.objectUser" }
    train     = { catalog = "roles/biglake.viewer", files = "roles/storage.objectViewer" }
  }

  # pyiceberg's properties, as QUOTEWATCH_CATALOG wants them.
  catalog_properties = {
    type                                 = "rest"
    uri                                  = "https://biglake.googleapis.com/iceberg/v1/restcatalog"
    warehouse                            = "gs://${google_storage_bucket.warehouse.name}"
    auth                                 = { type = "google" }
    "py-io-impl"                         = "pyiceberg.io.pyarrow.PyArrowFileIO"
    "header.x-goog-user-project"         = var.project_id
    "header.X-Iceberg-Access-Delegation" = "" # files are read and written with the caller's own rights
  }
}

resource "google_biglake_iceberg_catalog" "tables" {
  name            = google_storage_bucket.warehouse.name
  catalog_type    = "CATALOG_TYPE_GCS_BUCKET"
  credential_mode = "CREDENTIAL_MODE_END_USER"
  description     = "The tables of QuoteWatch."

  lifecycle {
    prevent_destroy = true
  }
}

resource "google_biglake_iceberg_namespace" "quotewatch" {
  catalog      = google_biglake_iceberg_catalog.tables.name
  namespace_id = "quotewatch"

  lifecycle {
    prevent_destroy = true
  }
}

resource "google_biglake_iceberg_catalog_iam_member" "user" {
  for_each = local.catalog_roles

  name   = google_biglake_iceberg_catalog.tables.name
  role   = each.value.catalog
  member = local.members[each.key]
}

resource "google_storage_bucket_iam_member" "warehouse_user" {
  for_each = local.catalog_roles

  bucket = google_storage_bucket.warehouse.name
  role   = each.value.files
  member = local.members[each.key]
}

# How to reach the catalog is a secret, since another one (PostgreSQL, a hosted REST catalog) would
# bring its password. Add a version to change or rotate it: docs/runbook.md#rotate-secrets.
resource "google_secret_manager_secret" "catalog" {
  secret_id = "quotewatch-catalog"

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }

  depends_on = [terraform_data.apis_known]
}

resource "google_secret_manager_secret_version" "catalog" {
  secret      = google_secret_manager_secret.catalog.id
  secret_data = jsonencode(local.catalog_properties) # BigLake's: nothing in it is secret

  # The first version is ours, all others are yours: a newer one is never covered by this one again,
  # and one that you disabled stays disabled.
  lifecycle {
    ignore_changes = [enabled, secret_data]
  }
}

resource "google_secret_manager_secret_iam_member" "catalog_reader" {
  for_each = local.catalog_roles

  secret_id = google_secret_manager_secret.catalog.secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = local.members[each.key]
}
