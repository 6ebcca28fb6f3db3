//! Limits of what a registry may send, and of how long it is waited for (threats.md, section 6).

use std::time::Duration;

/// Largest manifest or index that is read: what the readers of `oci` accept.
pub const MANIFEST_BYTES_MAX: u64 = rorqual_oci::image::DOCUMENT_BYTES_MAX;
/// Largest `WWW-Authenticate` of one answer, all its lines together; real ones are below 1 KiB.
pub const CHALLENGE_BYTES_MAX: usize = 16 << 10;
/// Largest answer of a token server; a token that names many repositories reaches some 10 KiB.
pub const TOKEN_BYTES_MAX: u64 = 64 << 10;
/// Redirects followed for one request; content networks use one or two.
pub const REDIRECTS_MAX: usize = 5;
/// Longest address that is followed: a signed one of a content network is 1 to 2 KiB.
pub const URL_BYTES_MAX: usize = 16 << 10;
/// Longest error document that is read, and of it what is shown.
pub const ERROR_BYTES_MAX: u64 = 64 << 10;
/// Bytes of foreign text in one of our errors.
pub const SHOWN_BYTES_MAX: usize = 256;
/// Largest page of a list of tags, of referrers or of search results.
pub const LIST_BYTES_MAX: u64 = 4 << 20;
/// Pages of one list; with the page size asked for, 10 million tags.
pub const PAGES_MAX: usize = 10_000;
/// Tags asked for per page: large enough to be few requests, and what Docker Hub allows is less, which is fine.
pub const TAGS_PER_PAGE: usize = 1000;
/// Tags of one repository that are collected: some 100 MiB of names is more than any client can use.
pub const TAGS_MAX: usize = 1_000_000;
/// Largest `X-Registry-Auth`: identity tokens of cloud registries reach 8 KiB, and base64 adds a third.
pub const AUTH_HEADER_BYTES_MAX: usize = 64 << 10;
/// Tokens kept for the next request.
pub const TOKENS_MAX: usize = 1024;
/// Hosts whose connections and challenge are remembered.
pub const HOSTS_MAX: usize = 256;
/// Challenges in one answer that are looked at.
pub const CHALLENGES_MAX: usize = 16;

/// Attempts at one request, or at one stretch of a blob without a byte of progress.
pub const ATTEMPTS_MAX: u32 = 5;
/// The wait before the second attempt; it doubles for each further one.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(250);
/// The longest wait between two attempts.
pub const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// The longest `Retry-After` that is obeyed; a server that asks for more gets no further request, its caller an error.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// A connection, its name lookup and its TLS handshake.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(30);
/// How long another node may take to answer: the registry has the same.
pub const PEER_DEADLINE: Duration = Duration::from_secs(3);
/// How long a node that did not answer is left alone.
pub const PEER_PAUSE: Duration = Duration::from_secs(30);
/// Bytes of a file with a password.
pub const PASSWORD_FILE_BYTES_MAX: u64 = 4096;
/// Other nodes that may be listed: each may be asked for each blob.
pub const PEERS_MAX: usize = 64;
/// From a request to the head of its answer: a registry that assembles a blob from its store may think for a while.
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(60);
/// A stream that delivers nothing, or takes nothing, for this long is cut and resumed.
pub const STALL_DEADLINE: Duration = Duration::from_secs(60);
/// The answer to a finished upload: the server may hash all of it first.
pub const COMMIT_DEADLINE: Duration = Duration::from_secs(600);
/// A whole small document.
pub const DOCUMENT_DEADLINE: Duration = Duration::from_secs(60);
/// Idle connections are closed after this, before the usual 60 s of servers and load balancers.
pub const IDLE_DEADLINE: Duration = Duration::from_secs(30);
/// Idle connections kept per host: as many layers as an engine has under way at once.
pub const IDLE_CONNECTIONS_MAX: usize = 8;

/// How long a token is good for where its server does not say (the token specification's default).
pub const TOKEN_SECONDS_DEFAULT: u64 = 60;
/// A token this near its end is replaced, so that it does not end on its way.
pub const TOKEN_MARGIN: Duration = Duration::from_secs(5);
/// The longest a token is trusted to live, whatever its server says.
pub const TOKEN_SECONDS_MAX: u64 = 24 * 3600;

/// HTTP/2 flow-control windows per stream and per connection: what 100 MiB/s needs at 20 and 80 ms.
pub const STREAM_WINDOW_BYTES: u32 = 2 << 20;
/// As above.
pub const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// Bytes read from a file at once for an upload.
pub const UPLOAD_READ_BYTES: usize = 256 << 10;
/// The size of a chunk where chunked uploads are asked for: above the 5 MiB that S3-like stores need.
pub const UPLOAD_CHUNK_BYTES: u64 = 16 << 20;
/// Progress of a blob that lets attempts count anew: this, or a thousandth of the blob where that is less.
pub const PROGRESS_BYTES: u64 = 16 << 10;
/// As above.
pub const PROGRESS_PARTS_MAX: u64 = 1000;
