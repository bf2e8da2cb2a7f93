//! The fenced blocks of a page.

use std::path::Path;

use anyhow::{Result, ensure};
use environment::repository;

const FENCE: &str = "```";

/// A fenced block.
#[derive(Clone, Debug)]
pub struct Block {
    /// The path of the page in the repository.
    pub page: String,
    /// The line of its opening fence.
    pub line: usize,
    /// The last heading or bold step before it.
    pub step: String,
    pub language: String,
    pub text: String,
}

impl Block {
    pub fn place(&self) -> String {
        format!("{}:{}", self.page, self.line)
    }

    /// The commands of a `console` block, without their outputs. A line that ends with a backslash continues.
    pub fn commands(&self) -> Vec<String> {
        let (mut commands, mut continues) = (Vec::<String>::new(), false);
        for line in self.text.lines() {
            match (line.strip_prefix("$ "), commands.last_mut()) {
                (Some(command), _) => commands.push(command.to_owned()),
                (None, Some(command)) if continues => *command += &format!("\n{line}"),
                _ => continue,
            }
            continues = line.ends_with('\\');
        }
        commands
    }
}

/// The README and every page below `docs`, as paths in the repository.
pub fn pages() -> Result<Vec<String>> {
    let mut pages = vec!["README.md".to_owned()];
    find(&repository().join("docs"), "docs", &mut pages)?;
    pages[1..].sort();
    ensure!(pages.len() > 10, "{pages:?}");
    Ok(pages)
}

fn find(folder: &Path, path: &str, pages: &mut Vec<String>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = format!("{path}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            find(&entry.path(), &path, pages)?;
        } else if path.ends_with(".md") {
            pages.push(path);
        }
    }
    Ok(())
}

/// The blocks of a page. A block in a list is indented.
pub fn blocks(page: &str) -> Result<Vec<Block>> {
    let text = std::fs::read_to_string(repository().join(page))?;
    let (mut blocks, mut open, mut step) = (Vec::new(), None::<(Block, usize)>, String::new());
    for (number, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        match (line.trim_start().strip_prefix(FENCE), &mut open) {
            (Some(""), Some(_)) => blocks.extend(open.take().map(|(block, _)| block)),
            (Some(info), None) => {
                let language = info.split([' ', ',']).next().unwrap_or_default().to_owned();
                let (page, step, text) = (page.to_owned(), step.clone(), String::new());
                open = Some((Block { page, line: number + 1, step, language, text }, indent));
            }
            (_, Some((block, indent))) => {
                block.text += line.get(*indent..).unwrap_or_default();
                block.text.push('\n');
            }
            (None, None) => step = title(line).unwrap_or(step),
        }
    }
    ensure!(open.is_none(), "{page}: a block does not end");
    Ok(blocks)
}

/// The title of a heading, or of a paragraph that starts in bold.
fn title(line: &str) -> Option<String> {
    let bold = line.strip_prefix("**").and_then(|rest| rest.split_once("**")).map(|(bold, _)| bold);
    bold.or_else(|| line.strip_prefix("## ")).map(str::to_owned)
}
