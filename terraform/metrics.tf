# A descriptor for every metric, before its first point: one that a first point makes has no unit
# and no description. The list is made from the catalogue: `python -m quotewatch.observability`.

locals {
  metrics = { for each in jsondecode(file("${path.module}/data/metric_descriptors.json")) : each.name => each }
}

resource "google_monitoring_metric_descriptor" "metric" {
  for_each = local.metrics

  type         = each.value.type
  metric_kind  = each.value.metric_kind
  value_type   = each.value.value_type
  unit         = each.value.unit
  display_name = each.value.display_name
  description  = each.value.description

  dynamic "labels" {
    for_each = each.value.labels

    content {
      key        = labels.value.key
      value_type = labels.value.value_type
    }
  }

  depends_on = [terraform_data.apis_known]
}
