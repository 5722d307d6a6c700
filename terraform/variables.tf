# What you may choose. Only project_id and region have to be given.

variable "project_id" {
  description = "The project everything is made in. A fresh one with billing is best: names are fixed."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "A project id has 6 to 30 lower-case letters, digits and hyphens, like quotewatch-prod. `gcloud projects list` shows yours."
  }
}

variable "region" {
  description = "Where everything runs and is kept. Coinbase is nearest to us-east4 and us-east1; some new projects may build in few regions only (docs/deploy.md)."
  type        = string

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]{1,2}$", var.region))
    error_message = "A region is spelled like us-east4. `gcloud run regions list` shows all."
  }
}

variable "environment" {
  description = "ENVIRONMENT of every process: a label of every metric, and what dashboards and alerts ask for."
  type        = string
  default     = "production"

  validation {
    condition     = can(regex("^[a-z0-9_-]{1,40}$", var.environment))
    error_message = "An environment is 1 to 40 lower-case letters, digits, _ and -, like production."
  }
}

variable "products" {
  description = "What to capture."
  type        = list(string)
  default     = ["BTC-USD", "ETH-USD"]

  validation {
    condition     = length(var.products) > 0 && alltrue([for each in var.products : can(regex("^[A-Z0-9]{1,20}-[A-Z0-9]{1,20}$", each))])
    error_message = "Name at least one product, each spelled like BTC-USD."
  }
  validation {
    condition     = length(var.products) == length(distinct(var.products))
    error_message = "A product is named twice."
  }
}

variable "feed_dialect" {
  description = "Which of Coinbase's feeds: exchange or advanced."
  type        = string
  default     = "exchange"

  validation {
    condition     = contains(["exchange", "advanced"], var.feed_dialect)
    error_message = "Write exchange or advanced."
  }
  validation {
    condition     = var.feed_dialect != "advanced" || !anytrue([for each in var.products : endswith(each, "-USDC")])
    error_message = "Advanced Trade answers -USDC products with -USD data: name the -USD product, or use exchange."
  }
}

variable "horizons_ms" {
  description = "How far labels look ahead; each horizon has a model of its own."
  type        = list(number)
  default     = [500]

  validation {
    condition     = length(var.horizons_ms) > 0 && alltrue([for each in var.horizons_ms : each >= 1 && each <= 600000 && floor(each) == each])
    error_message = "Give whole milliseconds from 1 to 600000, like [500, 5000]."
  }
}

variable "alert_emails" {
  description = "Who is told of alerts. With none, alerts are only seen in the console."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for each in var.alert_emails : can(regex("^[^@[:space:]]+@[^@[:space:]]+[.][^@[:space:]]+$", each))])
    error_message = "An address is spelled like name@example.org."
  }
}

variable "alert_channels" {
  description = "Names of notification channels that exist already (chat, pager), told as well: projects/P/notificationChannels/N."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for each in var.alert_channels : can(regex("^projects/[^/]+/notificationChannels/[0-9]+$", each))])
    error_message = "A channel is spelled like projects/P/notificationChannels/N. `gcloud beta monitoring channels list` shows yours."
  }
}

variable "alert_thresholds" {
  description = "Thresholds of alerts that shall differ from docs/runbook.md, by name."
  type        = map(number)
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.alert_thresholds), keys(local.alerts_file.thresholds))) == 0
    error_message = "No alert has such a threshold. They are: ${join(", ", keys(local.alerts_file.thresholds))}."
  }
}

variable "grafana_viewers" {
  description = "Who may read metrics, as IAM members: serviceAccount:grafana@..., user:..."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for each in var.grafana_viewers : can(regex("^(serviceAccount|user|group):[^@[:space:]]+@[^@[:space:]]+$", each))])
    error_message = "A member is spelled like serviceAccount:grafana@my-project.iam.gserviceaccount.com."
  }
}

variable "deployers" {
  description = "Who may run `make deploy` or have Cloud Build do it, as IAM members. Owners of the project may anyway."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for each in var.deployers : can(regex("^(serviceAccount|user|group):[^@[:space:]]+@[^@[:space:]]+$", each))])
    error_message = "A member is spelled like user:name@example.org."
  }
}

variable "gateway_cpu" {
  description = "Processors of the gateway, always on. 1 carries some 5 000 messages a second; 2 for all products."
  type        = number
  default     = 1

  validation {
    condition     = contains([1, 2, 4], var.gateway_cpu)
    error_message = "Write 1, 2 or 4."
  }
  validation {
    condition     = var.gateway_cpu < 4 || (endswith(var.gateway_memory, "Gi") && var.gateway_memory != "1Gi")
    error_message = "Cloud Run gives 4 processors only with at least 2Gi: set gateway_memory, too."
  }
}

variable "gateway_memory" {
  description = "Memory of the gateway. Books of a product take about 1 MiB, the queue up to 256 MiB."
  type        = string
  default     = "1Gi"

  validation {
    condition     = can(regex("^(51[2-9]|5[2-9][0-9]|[6-9][0-9]{2}|[1-9][0-9]{3,})Mi$|^([1-9]|1[0-6])Gi$", var.gateway_memory))
    error_message = "Memory is spelled like 512Mi or 2Gi, 512Mi at least and 16Gi at most."
  }
}

variable "settle_seconds" {
  description = "How long to wait, once, for new APIs and permissions to be known everywhere in the cloud."
  type        = number
  default     = 90

  validation {
    condition     = var.settle_seconds >= 0 && var.settle_seconds <= 600
    error_message = "Give seconds from 0 to 600."
  }
}
