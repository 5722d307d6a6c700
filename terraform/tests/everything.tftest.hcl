# One apply of everything on a provider that makes up what the cloud would answer. tests/terraform
# reads its outcome and holds it to the code; here stands what needs no code to be seen.

mock_provider "google" {
  alias           = "before_apis"
  override_during = plan
}

mock_provider "google" {
  override_during = plan

  mock_resource "google_cloudfunctions2_function" {
    defaults = {
      service_config = { uri = "https://function-abc.a.run.app" }
    }
  }

  mock_resource "google_storage_bucket" {
    defaults = {
      project_number = "123456789012"
    }
  }
}

variables {
  project_id     = "quotewatch-test"
  region         = "us-east4"
  settle_seconds = 0
}

run "everything" {
  command = plan

  assert {
    condition     = length(google_pubsub_topic.stream) == 5
    error_message = "streams"
  }
}
