//! The memory, descriptors, threads and tasks of the operator do not grow.

use super::Violation;

const INVARIANT: &str = "memory, descriptors, threads and tasks do not grow";

/// The part of the samples of a process that count as its warm-up.
const WARM_UP: f64 = 0.25;
/// A process with fewer samples after its warm-up has no slope.
const MINIMUM: usize = 20;

/// A figure of one process over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub name: &'static str,
    pub unit: &'static str,
    /// The time in seconds and the value of each sample.
    pub samples: Vec<(f64, f64)>,
    /// The growth that is tolerated in the time of the samples: this part of the median, and this amount.
    pub tolerance: (f64, f64),
}

/// The slope of a series after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slope {
    pub per_hour: f64,
    /// The growth over the time of the samples, and its maximum.
    pub growth: f64,
    pub limit: f64,
    pub median: f64,
    pub seconds: f64,
}

impl Series {
    /// The slope by Theil and Sen: the median of the slopes between all pairs of samples. Peaks do not move it.
    /// `None` if the process did not run for long enough.
    pub fn slope(&self) -> Option<Slope> {
        let warm = &self.samples[(self.samples.len() as f64 * WARM_UP) as usize..];
        if warm.len() < MINIMUM {
            return None;
        }
        let mut slopes = Vec::new();
        for (number, (time, value)) in warm.iter().enumerate() {
            slopes.extend(warm[number + 1..].iter().map(|(later, other)| (other - value) / (later - time).max(1e-3)));
        }
        let seconds = warm.last()?.0 - warm.first()?.0;
        let (slope, median) = (median(slopes), median(warm.iter().map(|(_, value)| *value).collect()));
        let limit = self.tolerance.0 * median + self.tolerance.1;
        Some(Slope { per_hour: slope * 3600.0, growth: slope * seconds, limit, median, seconds })
    }

    /// The violation, if the growth exceeds the tolerance.
    pub fn check(&self) -> Option<Violation> {
        let slope = self.slope().filter(|slope| slope.growth > slope.limit)?;
        let Slope { per_hour, growth, limit, median, seconds } = slope;
        let (name, unit) = (self.name, self.unit);
        let message = format!(
            "{name} grew by {growth:.1} {unit} in {seconds:.0} s ({per_hour:.1} {unit} per hour, median {median:.1} \
             {unit}); {limit:.1} {unit} are tolerated"
        );
        Some(Violation { invariant: INVARIANT, message, about: Vec::new() })
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(value: impl Fn(f64) -> f64) -> Series {
        let samples = (0..100).map(|number| (f64::from(number) * 10.0, value(f64::from(number)))).collect();
        Series { name: "memory", unit: "MiB", samples, tolerance: (0.1, 2.0) }
    }

    #[test]
    fn a_leak_is_found() {
        assert!(series(|number| 40.0 + number * 0.2).check().is_some());
    }

    #[test]
    fn a_warm_up_and_peaks_are_no_leak() {
        assert!(series(|number| if number < 20.0 { 20.0 + number } else { 40.0 }).check().is_none());
        assert!(series(|number| if number % 10.0 == 0.0 { 80.0 } else { 40.0 }).check().is_none());
        assert!(series(|number| 40.0 + number * 0.01).check().is_none());
    }

    #[test]
    fn a_short_series_has_no_slope() {
        let mut short = series(|number| number);
        short.samples.truncate(10);
        assert_eq!(short.slope(), None);
    }
}
