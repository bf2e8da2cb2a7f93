//! Snapshots of outputs, for tests.

use std::path::Path;

use super::output::{Format, Report, render};

/// Compares an output with its snapshot, a file below `src/cli`. `UPDATE_TESTDATA=1` writes the snapshot.
pub(crate) fn matches(output: &str, name: &str) -> std::io::Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli").join(name);
    if std::env::var_os("UPDATE_TESTDATA").is_some() {
        std::fs::create_dir_all(file.parent().unwrap_or(&file))?;
        std::fs::write(&file, output)?;
    }
    assert_eq!(output, std::fs::read_to_string(&file)?, "{}", file.display());
    Ok(())
}

/// Compares a report in all formats with the snapshots of this name.
pub(crate) fn every_format(report: &impl Report, name: &str) -> anyhow::Result<()> {
    let formats = [(Format::Text, "txt"), (Format::Json, "json"), (Format::Yaml, "yaml"), (Format::Markdown, "md")];
    for (format, extension) in formats {
        let rendered = anstream::adapter::strip_str(&render(report, format)?).to_string();
        matches(&rendered, &format!("{name}.{extension}"))?;
    }
    Ok(())
}
