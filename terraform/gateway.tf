# The gateway: one instance, always on, with a processor of its own. Its image comes with
# `make deploy` or Cloud Build; until then a placeholder stands here and captures nothing.

resource "google_cloud_run_v2_service" "gateway" {
  name        = "gateway"
  location    = var.region
  description = "QuoteWatch: captures Coinbase and publishes frames."

  ingress              = "INGRESS_TRAFFIC_INTERNAL_ONLY"
  default_uri_disabled = true # nobody calls it; only the platform looks at its health
  deletion_protection  = false

  template {
    service_account                  = local.emails["gateway"]
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"
    max_instance_request_concurrency = 1

    scaling {
      min_instance_count = 1
      max_instance_count = 1
    }

    containers {
      name  = "gateway"
      image = "us-docker.pkg.dev/cloudrun/container/hello"

      ports {
        container_port = 9090
      }

      resources {
        limits = {
          cpu    = tostring(var.gateway_cpu)
          memory = var.gateway_memory
        }
        cpu_idle          = false # it works between requests: there are none
        startup_cpu_boost = true
      }

      dynamic "env" {
        for_each = merge(local.settings, {
          QUOTEWATCH_SPOOL_DIR = "gs://${google_storage_bucket.objects.name}/spool" # its disk is memory
          QUOTEWATCH_HTTP_PORT = "9090"
        })

        content {
          name  = env.key
          value = env.value
        }
      }

      # Started once it captures: only then the revision before it is stopped, and no moment is lost.
      startup_probe {
        period_seconds    = 5
        timeout_seconds   = 4
        failure_threshold = 48 # four minutes

        http_get {
          path = "/readyz"
          port = 9090
        }
      }

      liveness_probe {
        period_seconds    = 30
        timeout_seconds   = 10
        failure_threshold = 3

        http_get {
          path = "/healthz"
          port = 9090
        }
      }
    }
  }

  lifecycle {
    ignore_changes = [
      client,         # who deployed last,
      client_version, # with what,
      scaling,        # of the service: the API fills it in; ours is the template's
      template[0].containers[0].image,
      template[0].annotations, # what tools note,
      template[0].labels,
      template[0].revision, # and what they call it
    ]
  }

  depends_on = [
    terraform_data.permissions_known,
    google_pubsub_topic_iam_member.publisher,
    google_project_iam_member.metric_writer,
  ]
}
