//! Runs every command of docs/migrate.md.
