//! The report: measured figures beside their goals, as a table and as JSON.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

/// One measured figure.
pub struct Row {
    pub figure: String,
    pub measured: f64,
    pub goal: Option<Goal>,
    /// The same figure of ACK's ec2-controller 1.20 on the same kind of machine, with moto and 1,000 resources.
    pub ack: Option<f64>,
}

#[derive(Clone, Copy)]
pub enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

use Goal::{AtLeast, AtMost};

impl Row {
    /// Creates a row and prints the figure, to show progress.
    pub fn new(prefix: &str, figure: &str, measured: f64, goal: Option<Goal>) -> Self {
        println!("  {figure}: {measured:.3}");
        Self { figure: format!("{prefix}{figure}"), measured, goal, ack: None }
    }

    fn is_missed(&self) -> bool {
        match self.goal {
            None => false,
            Some(AtMost(goal)) => self.measured > goal,
            Some(AtLeast(goal)) => self.measured < goal,
        }
    }

    fn to_json(&self) -> Value {
        let (limit, goal) = match self.goal {
            None => (None, None),
            Some(AtMost(goal)) => (Some("at most"), Some(goal)),
            Some(AtLeast(goal)) => (Some("at least"), Some(goal)),
        };
        json!({
            "figure": self.figure, "measured": self.measured, "limit": limit, "goal": goal, "ack": self.ack,
            "missed": self.is_missed(),
        })
    }
}

/// Prints all rows as a table.
pub fn print(rows: &[Row]) {
    println!("\n{:<64} {:>10} {:>8} {:>8}", "figure", "measured", "goal", "ACK");
    for row in rows {
        let goal = match row.goal {
            None => String::new(),
            Some(AtMost(goal)) => format!("≤ {goal}"),
            Some(AtLeast(goal)) => format!("≥ {goal}"),
        };
        let ack = row.ack.map(|ack| ack.to_string()).unwrap_or_default();
        let missed = if row.is_missed() { "  missed" } else { "" };
        println!("{:<64} {:>10.3} {goal:>8} {ack:>8}{missed}", row.figure, row.measured);
    }
}

/// Writes all rows as JSON.
pub fn write(rows: &[Row], file: &Path) -> Result<()> {
    let rows: Vec<Value> = rows.iter().map(Row::to_json).collect();
    std::fs::write(file, serde_json::to_string_pretty(&rows)?)?;
    Ok(())
}
