# Topics, their subscriptions, and who may publish to them or read them.
# quotewatch/bus/topology.py says the same for one machine; a test compares.

locals {
  streams = toset(["raw_orderbook", "raw_trades", "features", "events", "predictions"])

  retention = "604800s" # seven days: how long everything may stand still

  # A table that cannot be committed for an hour fails every frame it is given: few attempts would
  # divert good data during an outage of the catalog.
  write_attempts = 100
  # An answer that is late is worth little: the hole it leaves in `predictions` says it was lost.
  predict_attempts = 10

  publishers = {
    gateway = ["raw_orderbook", "raw_trades", "features", "events"]
    write   = ["committed"]
    predict = ["predictions"]
  }
  # Every topic by its full name, known before it is made.
  topics = {
    for name in concat(
      [for topic in google_pubsub_topic.stream : topic.name],
      [for topic in google_pubsub_topic.dead : topic.name],
      [google_pubsub_topic.committed.name],
    ) : name => "projects/${var.project_id}/topics/${name}"
  }

  published = merge([
    for component, topics in local.publishers : { for topic in topics : "${component}/${topic}" => { component = component, topic = topic } }
  ]...)
}

resource "google_pubsub_topic" "stream" {
  for_each = local.streams

  #checkov:skip=CKV_GCP_83:public market data; Google's own keys are enough
  name = each.key

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }

  depends_on = [terraform_data.apis_known]
}

# Where frames end that nobody could take. Each has a subscription: without one they would be gone.
resource "google_pubsub_topic" "dead" {
  for_each = local.streams

  #checkov:skip=CKV_GCP_83:public market data; Google's own keys are enough
  name = "${each.key}-dead"

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }

  depends_on = [terraform_data.apis_known]
}

# Says which table has new rows; whoever misses it looks by itself.
resource "google_pubsub_topic" "committed" {
  #checkov:skip=CKV_GCP_83:names of tables, nothing else
  name = "committed"

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }

  depends_on = [terraform_data.apis_known]
}

# What `write` drains.
resource "google_pubsub_subscription" "write" {
  for_each = local.streams

  name                       = "${each.key}.write"
  topic                      = local.topics[each.key]
  ack_deadline_seconds       = local.ack_deadline_seconds
  message_retention_duration = local.retention

  expiration_policy {
    ttl = "" # never, however long nobody pulls
  }

  dead_letter_policy {
    dead_letter_topic     = local.topics["${each.key}-dead"]
    max_delivery_attempts = local.write_attempts
  }
}

# What `python -m quotewatch redrive` takes back.
resource "google_pubsub_subscription" "dead" {
  for_each = local.streams

  name                       = "${google_pubsub_topic.dead[each.key].name}.redrive"
  topic                      = local.topics["${each.key}-dead"]
  ack_deadline_seconds       = local.ack_deadline_seconds
  message_retention_duration = local.retention

  expiration_policy {
    ttl = ""
  }
}

# Pushed, not triggered: a trigger of the function would hide its subscription, its dead letters
# and its pauses. What follows `?` makes the front end add the headers of an event; the door
# understands a push without them just as well.
resource "google_pubsub_subscription" "predict" {
  name                       = "features.predict"
  topic                      = local.topics["features"]
  ack_deadline_seconds       = local.functions.predict.timeout_seconds
  message_retention_duration = local.retention

  push_config {
    push_endpoint = "${google_cloudfunctions2_function.function["predict"].service_config[0].uri}?__GCP_CloudEventsMode=CUSTOM_PUBSUB_${urlencode(local.topics["features"])}"

    oidc_token {
      service_account_email = local.emails["push"]
      audience              = google_cloudfunctions2_function.function["predict"].service_config[0].uri
    }
  }

  expiration_policy {
    ttl = ""
  }

  retry_policy {
    minimum_backoff = "5s"
    maximum_backoff = "300s"
  }

  dead_letter_policy {
    dead_letter_topic     = local.topics["features-dead"]
    max_delivery_attempts = local.predict_attempts
  }
}

resource "google_pubsub_subscription" "label" {
  name                       = "committed.label"
  topic                      = local.topics["committed"]
  ack_deadline_seconds       = local.functions.label.timeout_seconds
  message_retention_duration = "3600s" # older than the next look by the schedule it says nothing

  push_config {
    push_endpoint = google_cloudfunctions2_function.function["label"].service_config[0].uri

    oidc_token {
      service_account_email = local.emails["push"]
      audience              = google_cloudfunctions2_function.function["label"].service_config[0].uri
    }
  }

  expiration_policy {
    ttl = ""
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }
}

resource "google_pubsub_topic_iam_member" "publisher" {
  for_each = local.published

  topic  = local.topics[each.value.topic]
  role   = "roles/pubsub.publisher"
  member = local.members[each.value.component]
}

resource "google_pubsub_subscription_iam_member" "write" {
  for_each = local.streams

  subscription = google_pubsub_subscription.write[each.key].name
  role         = "roles/pubsub.subscriber"
  member       = local.members["write"]
}

# Pub/Sub itself moves a dead letter: it publishes the message there and acks it here.
resource "google_pubsub_topic_iam_member" "dead_letters" {
  for_each = local.streams

  topic  = google_pubsub_topic.dead[each.key].name
  role   = "roles/pubsub.publisher"
  member = local.pubsub_agent
}

resource "google_pubsub_subscription_iam_member" "dead_letters" {
  for_each = merge(
    { for stream in local.streams : "${stream}.write" => google_pubsub_subscription.write[stream].name },
    { "features.predict" = google_pubsub_subscription.predict.name },
  )

  subscription = each.value
  role         = "roles/pubsub.subscriber"
  member       = local.pubsub_agent
}

# Pub/Sub signs what it pushes in the name of this account.
resource "google_service_account_iam_member" "push_token" {
  service_account_id = "projects/${var.project_id}/serviceAccounts/${local.emails["push"]}"
  role               = "roles/iam.serviceAccountOpenIdTokenCreator"
  member             = local.pubsub_agent

  # In a fresh project Pub/Sub's own account is there once it has a topic.
  depends_on = [google_pubsub_topic.stream]
}
