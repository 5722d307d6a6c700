# What this needs, and whose project it works on. The state is local unless you say otherwise:
# docs/deploy.md shows the five lines that keep it in a bucket.
terraform {
  required_version = ">= 1.11, < 2.0"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 7.45"
    }
  }
}

provider "google" {
  project = var.project_id
  region  = var.region

  # BigLake refuses a person's own credentials unless they say which project is billed.
  billing_project       = var.project_id
  user_project_override = true

  default_labels = {
    application = "quotewatch"
    environment = var.environment
  }
}

# For the APIs themselves: whoever is billed for a call must have its API, and a fresh project has
# none yet.
provider "google" {
  alias   = "before_apis"
  project = var.project_id
  region  = var.region
}
