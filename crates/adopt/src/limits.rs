//! How much of a data root is believed.

/// The largest of the small JSON files (a container's configuration, the list of names) that is read: dockerd's own are some
/// kilobytes, a list of ten thousand names is a megabyte.
pub const JSON_BYTES_MAX: u64 = 16 << 20;
/// The most entries of one directory of records: more containers, images or volumes than any one daemon has managed.
pub const RECORDS_MAX: usize = 1 << 20;
/// The largest page of a bolt file with its overflow: a page holds one value at least, and ours are kilobytes.
pub const BOLT_PAGE_BYTES_MAX: u64 = 16 << 20;
/// The deepest tree of pages: a branch page holds dozens of children, so that ten levels hold more than any disk.
pub const BOLT_DEPTH_MAX: usize = 32;
/// Bytes of pages, keys and values of one bucket: a hundred thousand volumes with long labels.
pub const BOLT_BUCKET_BYTES_MAX: usize = 64 << 20;
/// The longest line of a tar-split record: it holds the headers between two files, and extended headers end at 1 MiB, which
/// base64 makes a third longer.
pub const SPLIT_LINE_BYTES_MAX: u64 = 4 << 20;
/// The largest layer that is put together: sizes above are mistakes, and adding them up cannot overflow.
pub const LAYER_BYTES_MAX: u64 = 1 << 44;
/// How deep an index may refer to others.
pub const INDEX_DEPTH_MAX: usize = 4;
/// How deep directories of a volume may nest: each level holds descriptors open.
pub const TREE_DEPTH_MAX: usize = 256;
/// The most changed files that are counted in a container's writable layer before "more than" is all there is to say.
pub const CHANGES_MAX: u64 = 1_000_000;
/// Bytes moved at once: large enough that the digest and the calls around it are cheap.
pub const CHUNK_BYTES: usize = 256 << 10;
/// Names and values of a file's extended attributes: what Linux allows at most.
pub const XATTR_BYTES_MAX: usize = 64 << 10;
