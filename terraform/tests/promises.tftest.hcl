# What must be true of every deployment, in Terraform's own words.

mock_provider "google" {
  alias           = "before_apis"
  override_during = plan
}

mock_provider "google" {
  override_during = plan

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
  settle_seconds = 0
}

run "nothing_is_lost_on_the_bus" {
  command = plan

  assert {
    condition = alltrue([
      for each in concat(
        values(google_pubsub_subscription.write),
        values(google_pubsub_subscription.dead),
        [google_pubsub_subscription.predict, google_pubsub_subscription.label],
      ) : each.expiration_policy[0].ttl == ""
    ])
    error_message = "A subscription that ends by itself takes its messages along."
  }
  assert {
    condition = alltrue([
      for stream, each in google_pubsub_subscription.write :
      each.dead_letter_policy[0].max_delivery_attempts == 100 && endswith(each.dead_letter_policy[0].dead_letter_topic, "/${stream}-dead")
    ])
    error_message = "A stream that is drained gives a frame up after 100 attempts, to its own dead letters."
  }
  assert {
    condition     = google_pubsub_subscription.predict.dead_letter_policy[0].max_delivery_attempts == 10
    error_message = "predict gives a frame up after 10 attempts."
  }
  assert {
    condition     = keys(google_pubsub_subscription.dead) == keys(google_pubsub_topic.dead)
    error_message = "Dead letters without a subscription are gone."
  }
  assert {
    condition = alltrue([
      for each in concat(values(google_pubsub_subscription.write), values(google_pubsub_subscription.dead)) :
      each.message_retention_duration == "604800s"
    ])
    error_message = "What waits is kept for seven days."
  }
}

run "pushes_are_signed" {
  command = plan

  assert {
    condition = alltrue([
      for each in [google_pubsub_subscription.predict, google_pubsub_subscription.label] :
      each.push_config[0].oidc_token[0].service_account_email == "quotewatch-push@quotewatch-test.iam.gserviceaccount.com"
    ])
    error_message = "A push without a token is refused by the function."
  }
  assert {
    condition     = keys(google_cloud_run_v2_service_iam_member.push) == ["label", "predict"]
    error_message = "Pub/Sub may call label and predict, and nothing else."
  }
}

run "nobody_calls_from_outside" {
  command = plan

  assert {
    condition     = alltrue([for each in google_cloudfunctions2_function.function : each.service_config[0].ingress_settings == "ALLOW_INTERNAL_ONLY"])
    error_message = "A function is open to the internet."
  }
  assert {
    condition = alltrue([
      for each in concat(values(google_cloud_run_v2_service_iam_member.scheduler), values(google_cloud_run_v2_service_iam_member.push)) :
      startswith(each.member, "serviceAccount:quotewatch-")
    ])
    error_message = "Somebody else may call a function."
  }
  assert {
    condition     = google_cloud_run_v2_service.gateway.default_uri_disabled
    error_message = "The gateway has an address."
  }
}

run "everyone_has_the_least" {
  command = plan

  assert {
    condition     = { for name, each in google_storage_managed_folder_iam_member.user : name => each.managed_folder } == { gateway = "spool/", write = "quarantine/", train = "models/", predict = "models/" }
    error_message = "Objects are granted folder by folder."
  }
  assert {
    condition     = keys(google_pubsub_topic_iam_member.publisher) == ["gateway/events", "gateway/features", "gateway/raw_orderbook", "gateway/raw_trades", "predict/predictions", "write/committed"]
    error_message = "Somebody may publish what is not theirs."
  }
  assert {
    condition     = !contains(keys(google_storage_bucket_iam_member.warehouse_user), "predict") && !contains(keys(google_storage_bucket_iam_member.warehouse_user), "gateway")
    error_message = "Neither predict nor the gateway has business with the tables."
  }
  assert {
    condition     = google_storage_bucket_iam_member.warehouse_user["train"].role == "roles/storage.objectViewer"
    error_message = "train only reads the tables."
  }
  assert {
    condition     = keys(google_project_iam_member.metric_writer) == ["gateway", "label", "maintain", "predict", "reconcile", "train", "write"]
    error_message = "Only what counts something writes metrics."
  }
}

run "schedules" {
  command = plan

  assert {
    condition = { for name, each in google_cloud_scheduler_job.call : name => each.schedule } == {
      write = "* * * * *", label = "*/5 * * * *", train = "*/5 * * * *", reconcile = "*/5 * * * *", maintain = "*/10 * * * *"
    }
    error_message = "Schedules are not those of the architecture."
  }
  assert {
    condition = alltrue([
      for each in google_cloud_scheduler_job.call :
      each.retry_config[0].retry_count > 0 && each.http_target[0].oidc_token[0].service_account_email == "quotewatch-scheduler@quotewatch-test.iam.gserviceaccount.com"
    ])
    error_message = "A schedule calls without a token, or only once."
  }
}

run "metrics_and_alerts_are_the_catalogues" {
  command = plan

  assert {
    condition     = toset(keys(google_monitoring_metric_descriptor.metric)) == toset([for each in jsondecode(file("./data/metric_descriptors.json")) : each.name])
    error_message = "Descriptors are not those of the data."
  }
  assert {
    condition     = toset(keys(google_monitoring_alert_policy.policy)) == toset(keys(jsondecode(file("./data/alert_policies.json")).policies))
    error_message = "Alerts are not those of the data."
  }
}

run "another_threshold_reaches_its_alert" {
  command = plan

  variables {
    environment      = "staging"
    alert_thresholds = { gateway_silent_seconds = 77 }
    alert_emails     = ["desk@example.org", "night@example.org"]
    alert_channels   = ["projects/p/notificationChannels/1"]
  }

  assert {
    condition     = strcontains(google_monitoring_alert_policy.policy["gateway-silent"].conditions[0].condition_prometheus_query_language[0].query, "> 77)")
    error_message = "The threshold did not arrive."
  }
  assert {
    condition     = strcontains(google_monitoring_alert_policy.policy["gateway-silent"].conditions[0].condition_prometheus_query_language[0].query, "environment=\"staging\"")
    error_message = "The alert asks for another environment."
  }
  assert {
    condition     = length(google_monitoring_notification_channel.email) == 2 && contains(local.alert_channels, "projects/p/notificationChannels/1") && length(local.alert_channels) == 3
    error_message = "Not everybody is told."
  }
}

run "people_deploy_as_the_machine_does" {
  command = plan

  variables {
    deployers = ["user:ann@example.org"]
  }

  assert {
    condition     = google_project_iam_member.deployer["user:ann@example.org"].role == google_project_iam_member.deployer["quotewatch-deploy"].role
    error_message = "Whoever may deploy may do what Cloud Build does."
  }
}
