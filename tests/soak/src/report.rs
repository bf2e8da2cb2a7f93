//! The report of a run in Markdown, for `docs/endurance.md`.

use std::fmt::Write as _;
use std::time::Duration;

use crate::run::Run;

impl Run {
    /// The summary of the run.
    pub async fn report(&self, took: Duration) -> String {
        let figures = &self.figures;
        let longest = figures.convergences.iter().max().copied().unwrap_or_default();
        let replicas = &self.world.replicas;
        let calls = self.world.journal.counts();
        let mut rows = vec![
            ("seed".to_owned(), self.seed.to_string()),
            ("time".to_owned(), format!("{:.0} s, and {} hours of EC2's clock", took.as_secs_f64(), figures.hours)),
            ("phases".to_owned(), figures.phases.to_string()),
            ("resources".to_owned(), self.scale.resources.to_string()),
            ("restarts of an operator".to_owned(), replicas.restarts().await.to_string()),
            ("EC2 and STS calls of the operator".to_owned(), calls.values().sum::<u64>().to_string()),
            ("disturbed requests to the API server".to_owned(), self.world.disturbances.hits().to_string()),
            ("longest convergence".to_owned(), format!("{:.0} s", longest.as_secs_f64())),
            ("requests to reconcile".to_owned(), figures.nudges.to_string()),
            ("routes deleted by hand, as their condition asks".to_owned(), figures.routes_by_hand.to_string()),
            ("connections left in AWS without access, as reported".to_owned(), figures.left_in_aws.to_string()),
            ("races with a foreign change of a route".to_owned(), figures.races.to_string()),
            ("peak memory".to_owned(), format!("{:.1} MiB", replicas.peak(|sample| sample.usage.memory).await)),
            ("peak descriptors".to_owned(), format!("{:.0}", replicas.peak(|sample| sample.usage.descriptors).await)),
            ("peak threads".to_owned(), format!("{:.0}", replicas.peak(|sample| sample.usage.threads).await)),
            ("peak tasks".to_owned(), format!("{:.0}", replicas.peak(|sample| sample.tasks).await)),
        ];
        for series in self.series().await {
            let (name, unit) = (format!("slope of {}", series.name), series.unit);
            let value = series.slope().map_or_else(
                || "no process ran for long enough".to_owned(),
                |slope| {
                    format!(
                        "{:+.2} {unit} in {:.0} s ({:+.2} per hour), {:.1} are tolerated",
                        slope.growth, slope.seconds, slope.per_hour, slope.limit
                    )
                },
            );
            rows.push((name, value));
        }
        let mut text = "| figure | value |\n|---|---|\n".to_owned();
        for (name, value) in rows {
            _ = writeln!(text, "| {name} | {value} |");
        }
        text += "\n| group | action | times | without effect |\n|---|---|---|---|\n";
        for ((group, name), (times, without)) in &figures.actions {
            _ = writeln!(text, "| {} | {name} | {times} | {without} |", group.name());
        }
        text
    }
}
