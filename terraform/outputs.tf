# What you need next.

output "project_id" {
  description = "The project everything is in."
  value       = var.project_id
}

output "region" {
  description = "Where everything runs."
  value       = var.region
}

output "deploy_command" {
  description = "Brings the code."
  value       = "make deploy PROJECT=${var.project_id} REGION=${var.region}"
}

output "catalog" {
  description = "QUOTEWATCH_CATALOG for reading the tables from elsewhere: export it, then `python -m quotewatch sql`."
  value       = jsonencode(local.catalog_properties)
}

output "warehouse_bucket" {
  description = "Where the tables' files are."
  value       = google_storage_bucket.warehouse.name
}

output "objects_bucket" {
  description = "QUOTEWATCH_OBJECTS is gs:// and this: models, quarantine, spool."
  value       = google_storage_bucket.objects.name
}

output "image_repository" {
  description = "Where the gateway's image is pushed."
  value       = "${var.region}-docker.pkg.dev/${var.project_id}/${google_artifact_registry_repository.images.repository_id}"
}

output "service_accounts" {
  description = "The account of each component."
  value       = local.emails
}

output "functions" {
  description = "The functions and their addresses, which only Scheduler and Pub/Sub may call."
  value       = { for name, function in google_cloudfunctions2_function.function : name => function.service_config[0].uri }
}
