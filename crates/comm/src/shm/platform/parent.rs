//! What `die_with_parent` says when it cannot.

/// The parent ended before it could be watched.
pub fn ended(parent: u32) -> String {
    format!("dieWithParent: the parent, process {parent}, has ended already. Start this rank from a launcher that stays.")
}

/// The system does not let the parent be watched.
pub fn refused(reason: &std::io::Error) -> String {
    format!("dieWithParent: the system refused: {reason}. Run without it.")
}
