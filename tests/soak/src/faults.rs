//! The faults of EC2 and of the API server.

use std::time::Duration;

use ec2_simulator::Kind;
use environment::Disturbance;

/// The faults of EC2: the name, the actions that it affects, its probability, and its effect.
pub fn of_ec2(number: usize) -> (&'static str, &'static str, f64, Kind) {
    let error = |code: &str| Kind::Error { code: code.to_owned(), message: None, status: None };
    let all = [
        ("throttled calls", "*", 0.3, Kind::Throttle),
        ("InternalError", "*", 0.2, error("InternalError")),
        ("Unavailable", "*", 0.2, error("Unavailable")),
        ("lost replies", "*", 0.15, Kind::LostReply),
        ("truncated replies", "*", 0.1, Kind::CrashMidAnswer),
        ("delays of a second", "*", 0.3, Kind::Latency { seconds: 1.0 }),
        ("no permission to create", "Create*", 1.0, error("UnauthorizedOperation")),
        ("no permission to delete", "Delete*", 1.0, error("UnauthorizedOperation")),
        ("no permission to describe", "Describe*", 1.0, error("UnauthorizedOperation")),
        ("no permission to modify", "Modify*", 1.0, error("UnauthorizedOperation")),
        ("stale listings", "Describe*", 0.5, Kind::StaleDescribe { seconds: 2.0 }),
        ("no role", "AssumeRole", 1.0, error("AccessDenied")),
    ];
    all[number % all.len()].clone()
}

/// The number of faults in [`of_ec2`].
pub const OF_EC2: usize = 12;

/// The faults of the API server: the name, and each disturbance with its period in requests.
pub fn of_api(number: usize) -> (&'static str, Vec<(Disturbance, u64)>) {
    let all = [
        ("409", vec![(Disturbance::Conflict, 3)]),
        ("429", vec![(Disturbance::TooManyRequests, 4)]),
        ("500", vec![(Disturbance::InternalError, 4)]),
        ("dropped requests", vec![(Disturbance::DroppedRequest, 5)]),
        ("dropped responses", vec![(Disturbance::DroppedResponse, 5)]),
        ("slow", vec![(Disturbance::Slow(Duration::from_millis(700)), 2)]),
        (
            "mixed",
            vec![(Disturbance::Conflict, 7), (Disturbance::InternalError, 11), (Disturbance::DroppedResponse, 13)],
        ),
    ];
    all[number % all.len()].clone()
}

/// The number of faults in [`of_api`].
pub const OF_API: usize = 7;
