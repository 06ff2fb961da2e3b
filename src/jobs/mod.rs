//! What runs by itself: the schedule, the runs and their record.
