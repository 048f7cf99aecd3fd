//! What a policy knows: what a request asks for, and what each backend has to do.

/// A request as a policy sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Asked<'a> {
    /// Prompt tokens, about; 0 where nothing is to be generated.
    pub(crate) tokens: u64,
    /// The value of the body's `prompt` or `messages`; empty where it has none.
    pub(crate) prompt: &'a [u8],
}

/// What a policy sees of one backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    /// False while the backend is skipped for having refused a connection.
    pub(crate) available: bool,
    pub(crate) requests: usize,
    pub(crate) tokens: u64,
}
