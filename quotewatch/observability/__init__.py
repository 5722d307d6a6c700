"""What people look at: dashboards, alerts and pages, all made from the catalogue."""
