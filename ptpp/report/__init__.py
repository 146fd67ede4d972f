"""What people read: tables, figures, the planner's page."""
