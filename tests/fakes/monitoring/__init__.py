"""A strict fake of Google Cloud Monitoring v3 over real gRPC: what the real one refuses, it does.

It knows what QuoteWatch uses; what it does not know it refuses with words that begin "fake:".
"""

from tests.fakes.monitoring.grafana import grafana_query
from tests.fakes.monitoring.refusal import RefusedError
from tests.fakes.monitoring.server import MonitoringFake
from tests.fakes.monitoring.store import Series
from tests.fakes.monitoring.values import Distribution, Point

__all__ = ["Distribution", "MonitoringFake", "Point", "RefusedError", "Series", "grafana_query"]
