//! The page of `graph` in a real browser: search, zoom, pan and fit.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::process::Command;

/// A script that uses the page as a person does, and stores its findings in an attribute.
const SCRIPT: &str = r#"<script>
addEventListener("load", () => {
  const found = () => document.querySelectorAll(".item.found").length;
  const search = (text) => {
    input.value = text;
    input.dispatchEvent(new Event("input"));
    return { output: output.textContent, found: found(), searching: svg.classList.contains("searching") };
  };
  const box = () => svg.getAttribute("viewBox");
  const event = (type, options) => svg.dispatchEvent(new PointerEvent(type, { pointerId: 1, bubbles: true, ...options }));
  svg.setPointerCapture = () => {};
  const findings = { start: box(), items: document.querySelectorAll(".item").length };
  findings.known = search(KNOWN);
  findings.unknown = search("no such thing");
  findings.cleared = search("");
  svg.dispatchEvent(new WheelEvent("wheel", { deltaY: 200, clientX: 100, clientY: 100, cancelable: true }));
  findings.zoomed = box();
  event("pointerdown", {});
  event("pointermove", { movementX: 40, movementY: 20 });
  event("pointerup", {});
  findings.panned = box();
  event("pointermove", { movementX: 40, movementY: 20 });
  findings.released = box();
  fit.click();
  findings.fitted = box();
  findings.width = svg.clientWidth;
  document.documentElement.dataset.findings = JSON.stringify(findings);
});
</script>"#;

/// Uses the page in Chromium. Without Chromium the check is skipped, unless the environment variable `CHROMIUM` is
/// `required`. `known` is a text that one VPC and its peering show.
pub async fn use_page(folder: &Path, page: &str, known: &str) -> Result<()> {
    let script = SCRIPT.replace("KNOWN", &serde_json::to_string(known)?);
    let file = folder.join("graph.html");
    std::fs::write(&file, page.replace("</body>", &format!("{script}</body>")))?;
    let mut browser = Command::new("chromium");
    browser.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
    browser.arg(format!("--user-data-dir={}", folder.join("chromium").display()));
    browser.args(["--virtual-time-budget=5000", "--dump-dom"]).arg(format!("file://{}", file.display()));
    let shown = match browser.kill_on_drop(true).output().await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            ensure!(std::env::var("CHROMIUM").as_deref() != Ok("required"), "chromium is not installed");
            eprintln!("chromium is not installed; the page of `graph` is not tested in a browser");
            return Ok(());
        }
        shown => shown?,
    };
    let document = String::from_utf8_lossy(&shown.stdout);
    let findings = document.split_once("data-findings=\"").and_then(|(_, rest)| rest.split_once('"'));
    let (findings, _) = findings.with_context(|| format!("the script has not run: {shown:?}"))?;
    let findings: Value = serde_json::from_str(&findings.replace("&quot;", "\""))?;
    check(&findings).with_context(|| findings.to_string())
}

fn check(findings: &Value) -> Result<()> {
    ensure!(findings["width"].as_u64() > Some(100), "the drawing has no room");
    ensure!(findings["known"]["found"].as_u64() >= Some(1) && findings["known"]["searching"] == true);
    ensure!(findings["known"]["found"].as_u64() < findings["items"].as_u64(), "the search finds everything");
    ensure!(findings["known"]["output"].as_str().is_some_and(|text| text.ends_with(" found") && text != "0 found"));
    ensure!(findings["unknown"]["found"] == 0 && findings["unknown"]["output"] == "0 found");
    ensure!(findings["cleared"]["searching"] == false && findings["cleared"]["output"] == "");
    ensure!(findings["zoomed"] != findings["start"], "the wheel does not zoom");
    ensure!(findings["panned"] != findings["zoomed"], "a drag does not pan");
    ensure!(findings["released"] == findings["panned"], "the drag goes on after its end");
    ensure!(findings["fitted"] == findings["start"], "Fit does not show the whole drawing");
    Ok(())
}
