# Alerts, and who is told. The policies are made from the same catalogue as the metrics; what to do
# about each stands in docs/runbook.md.

locals {
  alerts_path = "${path.module}/data/alert_policies.json"
  alerts_file = jsondecode(file(local.alerts_path))

  alert_policies = jsondecode(templatefile(
    local.alerts_path,
    merge(local.alerts_file.thresholds, var.alert_thresholds, { environment = var.environment }),
  )).policies

  alert_channels = concat(
    [for each in google_monitoring_notification_channel.email : each.name],
    var.alert_channels,
  )
}

resource "google_monitoring_notification_channel" "email" {
  for_each = toset(var.alert_emails)

  display_name = "QuoteWatch: ${each.key}"
  type         = "email"
  labels       = { email_address = each.key }

  depends_on = [terraform_data.apis_known]
}

resource "google_monitoring_alert_policy" "policy" {
  for_each = local.alert_policies

  display_name          = each.value.display_name
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = local.alert_channels
  user_labels           = { alert = each.key, environment = var.environment }

  conditions {
    display_name = each.value.display_name

    condition_prometheus_query_language {
      query                     = each.value.query
      duration                  = each.value.duration
      evaluation_interval       = each.value.evaluation_interval
      rule_group                = each.value.rule_group
      alert_rule                = each.value.alert_rule
      disable_metric_validation = each.value.disable_metric_validation
    }
  }

  alert_strategy {
    auto_close = each.value.auto_close
  }

  documentation {
    content   = each.value.documentation.content
    mime_type = each.value.documentation.mime_type
    subject   = each.value.documentation.subject
  }

  depends_on = [google_monitoring_metric_descriptor.metric]
}
