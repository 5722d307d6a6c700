# What must not be taken: each variable named is refused, before anything is planned.

mock_provider "google" {
  alias           = "before_apis"
  override_during = plan
}

mock_provider "google" {
  override_during = plan
}

variables {
  project_id     = "quotewatch-test"
  region         = "us-east4"
  settle_seconds = 0
}

run "refuses_what_is_no_value" {
  command = plan

  variables {
    project_id       = "Quotewatch"
    region           = "us-east4-a"
    environment      = "Production!"
    products         = []
    horizons_ms      = [0]
    alert_emails     = ["nobody"]
    alert_channels   = ["pager"]
    alert_thresholds = { patience = 1 }
    grafana_viewers  = ["allUsers"]
    deployers        = ["allAuthenticatedUsers"]
    gateway_memory   = "1GB"
    settle_seconds   = -1
  }

  expect_failures = [
    var.project_id,
    var.region,
    var.environment,
    var.products,
    var.horizons_ms,
    var.alert_emails,
    var.alert_channels,
    var.alert_thresholds,
    var.grafana_viewers,
    var.deployers,
    var.gateway_memory,
    var.settle_seconds,
  ]
}

run "refuses_what_is_nearly_one" {
  command = plan

  variables {
    gateway_cpu    = 3
    project_id     = "short"
    region         = "US"
    products       = ["btc-usd"]
    horizons_ms    = [500.5]
    settle_seconds = 601
  }

  expect_failures = [
    var.gateway_cpu,
    var.project_id,
    var.region,
    var.products,
    var.horizons_ms,
    var.settle_seconds,
  ]
}

run "refuses_the_rest" {
  command = plan

  variables {
    products    = ["BTC-USD", "BTC-USD"]
    horizons_ms = []
    project_id  = "a-name-that-is-longer-than-thirty"
  }

  expect_failures = [
    var.products,
    var.horizons_ms,
    var.project_id,
  ]
}

run "refuses_a_dialect_there_is_not" {
  command = plan

  variables {
    feed_dialect = "prime"
  }

  expect_failures = [var.feed_dialect]
}

run "refuses_four_processors_with_little_memory" {
  command = plan

  variables {
    gateway_cpu = 4
  }

  expect_failures = [var.gateway_cpu]
}

run "refuses_too_little_memory" {
  command = plan

  variables {
    gateway_memory = "256Mi"
  }

  expect_failures = [var.gateway_memory]
}

run "refuses_mirrored_products_on_advanced_trade" {
  command = plan

  variables {
    feed_dialect = "advanced"
    products     = ["BTC-USDC"]
  }

  expect_failures = [var.feed_dialect]
}
