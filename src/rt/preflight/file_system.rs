//! Which file system a path is on, as `/proc/self/mountinfo` tells. Source: proc_pid_mountinfo(5).

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSystem {
    /// Its kind, as the kernel names it: `ext4`, `xfs`, `overlay`, `fuse.sshfs`; `unknown` if the kernel does not tell.
    pub kind: String,
    /// Where it is mounted.
    pub mount_point: String,
    /// What is mounted: a device, or a name.
    pub source: String,
}

impl FileSystem {
    /// The one that holds `path`, which is absolute and without symbolic links.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        let mounts = fs::read(Path::new("/proc/self/mountinfo")).unwrap_or_default();
        holding(&mounts, path).unwrap_or_else(|| Self {
            kind: "unknown".to_owned(),
            mount_point: "/".to_owned(),
            source: "unknown".to_owned(),
        })
    }

    /// Does the kernel show its own state by it, so that it takes no files of others?
    #[must_use]
    pub fn is_kernels_own(&self) -> bool {
        KERNELS_OWN.contains(&self.kind.as_str())
    }

    /// Does it keep everything in memory, so that there is no device to be direct to?
    #[must_use]
    pub fn is_in_memory(&self) -> bool {
        self.kind == "tmpfs"
    }
}

/// File systems by which the kernel shows its own state. They take no files of others.
const KERNELS_OWN: [&str; 9] =
    ["proc", "sysfs", "cgroup", "cgroup2", "debugfs", "tracefs", "securityfs", "devpts", "pstore"];

/// The file system with the longest mount point above `path`; of several mounted on one point, the last.
fn holding(mountinfo: &[u8], path: &Path) -> Option<FileSystem> {
    let lines = mountinfo.split(|byte| *byte == b'\n');
    let above = lines
        .filter_map(parse)
        .filter(|(point, _)| path.starts_with(Path::new(std::ffi::OsStr::from_bytes(point))));
    above.max_by_key(|(point, _)| point.len()).map(|(_, file_system)| file_system)
}

/// The mount point as bytes, and the file system, of one line:
/// `36 35 98:0 /mnt1 /mnt/parent rw,noatime shared:1 - ext3 /dev/root rw`.
fn parse(line: &[u8]) -> Option<(Vec<u8>, FileSystem)> {
    let mut fields = line.split(|byte| *byte == b' ');
    let mount_point = unescaped(fields.nth(4)?);
    let mut after = fields.skip_while(|field| *field != b"-").skip(1);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (kind, source) = (text(after.next()?), text(&unescaped(after.next()?)));
    let file_system = FileSystem { kind, mount_point: text(&mount_point), source };
    Some((mount_point, file_system))
}

/// A field with its escapes (backslash and three octal digits for space, tab, newline, backslash) undone.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let octal = |digit: u8| digit.checked_sub(b'0').filter(|value| *value < 8);
        let escape = match tail {
            [a, b, c, ..] if *first == b'\\' => {
                let value = |(a, b, c): (u8, u8, u8)| a.checked_mul(64)?.checked_add(b * 8 + c);
                octal(*a).zip(octal(*b)).zip(octal(*c)).and_then(|((a, b), c)| value((a, b, c)))
            }
            _ => None,
        };
        bytes.push(escape.unwrap_or(*first));
        rest = if escape.is_some() { tail.get(3..).unwrap_or_default() } else { tail };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &[u8] = b"22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
        23 22 0:20 / /var rw shared:1 master:2 - xfs /dev/vdb rw\n\
        24 23 0:21 / /var/my\\040data rw - fuse.sshfs host:/x\\134y rw\n\
        25 22 0:22 / /variety rw - tmpfs tmpfs rw\n\
        26 22 0:23 / /variety rw - btrfs /dev/vdc rw\n\
        not a mount\n";

    fn kind_of(path: &str) -> String {
        holding(MOUNTS, Path::new(path)).unwrap().kind
    }

    #[test]
    fn the_longest_mount_point_above_a_path_holds_it() {
        assert_eq!(kind_of("/home/me"), "ext4");
        assert_eq!(kind_of("/var/lib/x"), "xfs");
        assert_eq!(kind_of("/var/my data/x"), "fuse.sshfs");
    }

    #[test]
    fn a_mount_point_ends_at_a_slash_and_the_last_mount_covers_the_first() {
        assert_eq!(kind_of("/variety/x"), "btrfs");
        assert_eq!(kind_of("/varnish"), "ext4");
    }

    #[test]
    fn escapes_are_undone_and_other_backslashes_stay() {
        assert_eq!(unescaped(b"a\\040b\\134"), b"a b\\");
        assert_eq!(unescaped(b"a\\9\\777\\"), b"a\\9\\777\\");
    }

    #[test]
    fn proc_is_a_proc() {
        assert_eq!(FileSystem::of(Path::new("/proc/self")).kind, "proc");
    }
}
