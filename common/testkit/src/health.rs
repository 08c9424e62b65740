//! What an edge or a worker says of itself on `/readyz`, read by those who start one.

/// Whether every check passes, also those that the process could do without. Reads `{"checks": {"postgres": {"status": "ok", …}, …}, …}`. A process that checks nothing yet has not found anything well.
pub fn all_checks_pass(body: &str) -> bool {
    let Ok(report) = serde_json::from_str::<serde_json::Value>(body.trim()) else { return false };
    report["checks"].as_object().is_some_and(|checks| !checks.is_empty() && checks.values().all(|check| check["status"] == "ok"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_that_every_check_passes() {
        assert!(all_checks_pass(
            r#"{"checks":{"a":{"required":true,"status":"ok"},"b":{"required":false,"status":"ok"}},"status":"ready"}"#
        ));
        assert!(!all_checks_pass(
            r#"{"checks":{"a":{"required":true,"status":"ok"},"b":{"required":false,"status":"failing"}},"status":"ready"}"#
        ));
        assert!(!all_checks_pass(r#"{"checks":{},"status":"ready"}"#));
        assert!(!all_checks_pass("ready"));
    }
}
