//! Every bound of this crate, with its unit and its reason.

use std::time::Duration;

/// Bytes of a manifest or index, the limit of the bad-input policy.
pub const MANIFEST: usize = 4 << 20;
/// Bytes of the descriptor that the referrers list shows of a manifest: annotations are kept in the record, and a record
/// must fit into one transaction with others.
pub const REFERRER: usize = 1 << 20;
/// Bytes of one referrers answer, after which it is paged: the limit of an index.
pub const REFERRERS_PAGE: usize = 4 << 20;
/// How deep indexes of indexes are followed when their content is protected, the limit of the bad-input policy.
pub const INDEX_NESTING: usize = 3;
/// Manifests and blobs that one index may lead to; a thousand platforms of a hundred layers.
pub const INDEX_TOTAL: usize = 100_000;
/// Bytes of a request's header lines: a token of 16 KiB and a long query fit.
pub const HEADERS: usize = 64 << 10;
/// Header lines of a request.
pub const HEADER_COUNT: usize = 128;
/// Bytes of path and query.
pub const URL: usize = 16 << 10;
/// How long a connection may take for the head of a request, its idle time before included.
pub const HEAD_DEADLINE: Duration = Duration::from_secs(60);
/// How long a request's body may pause.
pub const BODY_DEADLINE: Duration = Duration::from_secs(60);
/// How long an answer's reader may take no byte.
pub const SEND_DEADLINE: Duration = Duration::from_secs(60);
/// Connections of one address.
pub const CONNECTIONS_PER_PEER: usize = 256;
/// Connections of all: a descriptor and some 20 KiB each.
pub const CONNECTIONS: usize = 8192;
/// TLS handshakes under way at once.
pub const HANDSHAKES: usize = 1024;
/// How long a TLS handshake may take.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// How long to wait after an accept failed for want of descriptors or memory.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long requests under way are waited for at the end.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(10);
/// How long an upload may pause before it is dropped, the limit of the bad-input policy.
pub const UPLOAD_IDLE: Duration = Duration::from_secs(3600);
/// How often idle uploads are looked for.
pub const UPLOAD_SCAN: Duration = Duration::from_secs(60);
/// Uploads that may wait on the disk at once.
pub const UPLOADS: usize = 10_000;
/// Uploads whose file and hash state are kept between requests; others are read again when they go on.
pub const UPLOADS_OPEN: usize = 512;
/// Bytes gathered before they are hashed and written at once.
pub const WRITE: usize = 1 << 20;
/// Bytes of a blob read or announced to the kernel at once.
pub const READ: usize = 512 << 10;
/// Bytes of a part of an object: S3 takes 5 MiB and more, and each part costs a request.
pub const PART: usize = 8 << 20;
/// Parts gathered in memory at once; beyond, uploads wait for room.
pub const GATHERING: usize = 64;
/// How long an object store may say nothing while it is waited for; a part is sent within it.
pub const OBJECT_DEADLINE: Duration = Duration::from_secs(60);
/// Parts of an object, S3's limit: a blob may have 80 GiB.
pub const PARTS: usize = 10_000;
/// Remembered places of blobs in an object store, some 200 bytes each.
pub const POINTERS: usize = 1 << 16;
/// Bytes of manifests kept in memory.
pub const MANIFEST_CACHE: usize = 64 << 20;
/// Entries of one page of tags or repositories, whatever a client asks for.
pub const PAGE_MAX: usize = 10_000;
/// Entries of a page of repositories where the client does not say; tags come all at once then, up to [`PAGE_MAX`].
pub const CATALOG_PAGE: usize = 1000;
/// Blobs on their way from upstream at once; beyond, clients are told to come again.
pub const FLIGHTS: usize = 256;
/// Bytes from upstream after which those who wait for them are told.
pub const TELL: u64 = 256 << 10;
/// How long upstream may take to say what a tag is, where something is kept that can be given instead.
pub const REVALIDATE_DEADLINE: Duration = Duration::from_secs(5);
/// How long what came from upstream is kept after it was last asked for, unless the operator says otherwise: as long as
/// Docker's registry keeps it.
pub const PROXY_TTL: Duration = Duration::from_secs(7 * 24 * 3600);
/// Parts of that time within one of which a second use is not noted: a note costs a synced commit.
pub const USE_STEPS: u64 = 16;
/// How long after its last sign of life a push protects what it looked at or uploaded.
pub const LEASE: Duration = Duration::from_secs(3600);
/// How long at most, even where pushes to a repository never pause.
pub const LEASE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Leases kept; beyond, nothing is collected until some have ended.
pub const LEASES: usize = 1 << 20;
/// Blobs deleted while pushes wait.
pub const SWEEP_BATCH: usize = 64;
/// Records read at a time when the whole store is walked.
pub const WALK: usize = 1000;
/// Bytes of a bearer token, the limit of the bad-input policy is 64 KiB for clients; a server's are header lines.
pub const TOKEN: usize = 16 << 10;
/// How far clocks of the token's issuer and ours may differ.
pub const CLOCK_SKEW: Duration = Duration::from_secs(60);
/// Password checks at once: each costs some 50 ms of a processor, on purpose.
pub const PASSWORD_CHECKS: usize = 2;
/// Requests that may wait for a password check.
pub const PASSWORD_QUEUE: usize = 64;
/// How long a checked password need not be checked again.
pub const PASSWORD_MEMORY: Duration = Duration::from_secs(300);
/// Checked passwords remembered.
pub const PASSWORDS: usize = 1024;
/// The highest bcrypt cost that is computed: 2^14 rounds are about a second.
pub const BCRYPT_COST: u32 = 14;
/// Bytes of the file of users.
pub const HTPASSWD: u64 = 1 << 20;
/// Bytes of the file with the password for upstream.
pub const PASSWORD_FILE: u64 = 64 << 10;
/// Bytes of the file of token keys.
pub const TOKEN_KEYS: u64 = 1 << 20;
/// Bytes of input repeated in an error.
pub const SHOWN: usize = 256;
