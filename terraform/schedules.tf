# Who calls which function when. A call that fails is tried again; a call too many does no harm.

locals {
  schedules = { for name, function in local.functions : name => function if function.schedule != null }
}

resource "google_cloud_scheduler_job" "call" {
  for_each = local.schedules

  name             = "quotewatch-${each.key}"
  region           = var.region
  description      = "Calls ${each.key}."
  schedule         = each.value.schedule
  time_zone        = "Etc/UTC"
  attempt_deadline = "${each.value.timeout_seconds + 15}s" # the function's own limit comes first

  retry_config {
    retry_count          = 3
    min_backoff_duration = "5s"
    max_backoff_duration = "60s"
    max_doublings        = 3
  }

  http_target {
    http_method = "POST"
    uri         = google_cloudfunctions2_function.function[each.key].service_config[0].uri

    oidc_token {
      service_account_email = local.emails["scheduler"]
      audience              = google_cloudfunctions2_function.function[each.key].service_config[0].uri
    }
  }

  depends_on = [google_cloud_run_v2_service_iam_member.scheduler]
}
