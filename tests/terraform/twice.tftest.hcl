# An apply, and another: of a copy without prevent_destroy, since this test ends by destroying.

mock_provider "google" {
  alias = "before_apis"
}

mock_provider "google" {
  mock_resource "google_cloudfunctions2_function" {
    defaults = { service_config = { uri = "https://function-abc.a.run.app" } }
  }
  mock_resource "google_storage_bucket" {
    defaults = { project_number = "123456789012" }
  }
}

variables {
  project_id     = "quotewatch-test"
  region         = "us-east4"
  alert_emails   = ["desk@example.org"]
  settle_seconds = 0
}

run "first" {
  command = apply
}

run "again" {
  command = plan
}
