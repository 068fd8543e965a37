//! What every store takes. Longer things are refused with [`Error::TooLong`](crate::Error::TooLong), and nothing happens.

/// The bytes of what a writer keeps of an upload for the next one: a running hash and the names of ten thousand parts are less.
pub const UPLOAD_STATE_BYTES_MAX: usize = 1024 * 1024;

/// The bytes of the topic and the text of an announcement together: what `PostgreSQL` carries in one notification, with room for
/// how it is written down.
pub const ANNOUNCEMENT_BYTES_MAX: usize = 7000;

/// The bytes of a note, or of what the holder of a lease lets others know.
pub const NOTE_BYTES_MAX: usize = 64 * 1024;

/// The announcements that wait for a listener. One that is further behind is told that it has [missed](crate::Announcement::Missed)
/// some.
pub const ANNOUNCEMENTS_WAITING_MAX: usize = 1024;
