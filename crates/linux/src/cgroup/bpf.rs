//! The device controller of version 2: rules as an eBPF program on the cgroup.

use super::devices::{ACCESS_ALL, NodeKind, Rule};
use std::{
    fs::File,
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
    path::Path,
};

/// One eBPF instruction as the kernel's `bpf_insn`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Insn {
    code: u8,
    /// Destination in the low half, source in the high one.
    registers: u8,
    offset: i16,
    immediate: i32,
}

const LOAD_WORD: u8 = 0x61;
const MOVE_REGISTER: u8 = 0xbf;
const MOVE: u8 = 0xb7;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP_EQUAL: u8 = 0x16;
const JUMP_UNEQUAL: u8 = 0x56;
const EXIT: u8 = 0x95;

// Registers: the answer, the context and scratch, then what is asked for.
const ANSWER: u8 = 0;
const SCRATCH: u8 = 1;
const ACCESS: u8 = 2;
const KIND: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

fn insn(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Insn {
    Insn { code, registers: to | from << 4, offset, immediate }
}

/// The program: each rule from the last to the first as a block that answers or falls through to the next.
pub(super) fn compile(rules: &[Rule]) -> Vec<Insn> {
    let mut program = vec![
        insn(LOAD_WORD, ACCESS, SCRATCH, 0, 0),
        insn(MOVE_REGISTER, KIND, ACCESS, 0, 0),
        insn(AND, KIND, 0, 0, 0xffff),
        insn(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        insn(LOAD_WORD, MAJOR, SCRATCH, 4, 0),
        insn(LOAD_WORD, MINOR, SCRATCH, 8, 0),
    ];
    for rule in rules.iter().rev() {
        let tests = tests(rule);
        let unconditional = tests.is_empty();
        let length = tests.len();
        for (at, mut test) in tests.into_iter().enumerate() {
            if matches!(test.code, JUMP_EQUAL | JUMP_UNEQUAL) {
                // Over the rest of the tests and the two instructions of the answer.
                test.offset = (length - at - 1 + 2) as i16;
            }
            program.push(test);
        }
        program.extend(answer(rule.allow));
        if unconditional {
            // The kernel refuses a program with instructions it cannot reach.
            return program;
        }
    }
    program.extend(answer(true));
    program
}

fn answer(allow: bool) -> [Insn; 2] {
    [insn(MOVE, ANSWER, 0, 0, i32::from(allow)), insn(EXIT, 0, 0, 0, 0)]
}

/// Tests that jump away when the rule is not about the request; their targets are filled in by the caller. An allowing
/// rule must cover the whole request, a denying one any part of it.
fn tests(rule: &Rule) -> Vec<Insn> {
    let mut tests = Vec::new();
    match rule.kind {
        NodeKind::Any => {}
        NodeKind::Block => tests.push(insn(JUMP_UNEQUAL, KIND, 0, 0, 1)),
        NodeKind::Char => tests.push(insn(JUMP_UNEQUAL, KIND, 0, 0, 2)),
    }
    if rule.access != ACCESS_ALL {
        let (mask, leave) =
            if rule.allow { (!rule.access & ACCESS_ALL, JUMP_UNEQUAL) } else { (rule.access, JUMP_EQUAL) };
        tests.push(insn(MOVE_REGISTER, SCRATCH, ACCESS, 0, 0));
        tests.push(insn(AND, SCRATCH, 0, 0, mask as i32));
        tests.push(insn(leave, SCRATCH, 0, 0, 0));
    }
    for (register, number) in [(MAJOR, rule.major), (MINOR, rule.minor)] {
        if let Some(number) = number {
            tests.push(insn(JUMP_UNEQUAL, register, 0, 0, number as i32));
        }
    }
    tests
}

const PROG_LOAD: libc::c_long = 5;
const PROG_ATTACH: libc::c_long = 8;
const PROG_DETACH: libc::c_long = 9;
const PROG_GET_FD_BY_ID: libc::c_long = 13;
const PROG_QUERY: libc::c_long = 16;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 2;
/// The kernel attaches at most this many programs to a cgroup.
const ATTACHED_MAX: usize = 64;

/// `union bpf_attr` for PROG_LOAD.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// `union bpf_attr` for PROG_ATTACH and PROG_DETACH.
#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// `union bpf_attr` for PROG_QUERY.
#[repr(C)]
struct Query {
    target: u32,
    kind: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
}

/// `union bpf_attr` for PROG_GET_FD_BY_ID.
#[repr(C)]
struct ById {
    id: u32,
    next: u32,
    flags: u32,
}

fn call<T>(command: libc::c_long, attributes: &mut T) -> io::Result<RawFd> {
    // SAFETY: `attributes` is a live, writable part of `union bpf_attr` of the size given; the addresses inside it point
    // to buffers that live across the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as RawFd) }
}

fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just handed us `fd` (close-on-exec); nothing else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn load(program: &[Insn]) -> io::Result<OwnedFd> {
    let mut attributes = Load {
        kind: TYPE_CGROUP_DEVICE,
        count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    call(PROG_LOAD, &mut attributes).map(own)
}

/// Attaches `program` to the cgroup at `dir` and detaches what was there; at no time is there none.
pub(super) fn replace(dir: &Path, program: &[Insn]) -> io::Result<()> {
    let dir = File::open(dir)?;
    let target = dir.as_raw_fd() as u32;
    let former = attached(target)?;
    let program = load(program)?;
    let edit = |program: &OwnedFd, flags| Attach {
        target,
        program: program.as_raw_fd() as u32,
        kind: ATTACH_CGROUP_DEVICE,
        flags,
    };
    call(PROG_ATTACH, &mut edit(&program, ALLOW_MULTI))?;
    for id in former {
        let former = own(call(PROG_GET_FD_BY_ID, &mut ById { id, next: 0, flags: 0 })?);
        call(PROG_DETACH, &mut edit(&former, 0))?;
    }
    Ok(())
}

fn attached(target: u32) -> io::Result<Vec<u32>> {
    let mut ids = vec![0u32; ATTACHED_MAX];
    let mut query = Query {
        target,
        kind: ATTACH_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        ids: ids.as_mut_ptr() as u64,
        count: ids.len() as u32,
        padding: 0,
    };
    call(PROG_QUERY, &mut query)?;
    ids.truncate(query.count as usize);
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Runs the program on a request, as the kernel would.
    fn run(program: &[Insn], context: [u32; 3]) -> u64 {
        let mut registers = [0u64; 11];
        let mut at = 0usize;
        loop {
            let Insn { code, registers: pair, offset, immediate } = program[at];
            let (to, from) = (usize::from(pair & 15), usize::from(pair >> 4));
            at += 1;
            let equal = registers[to] as u32 == immediate as u32;
            match code {
                LOAD_WORD => registers[to] = u64::from(context[offset as usize / 4]),
                MOVE_REGISTER => registers[to] = registers[from],
                MOVE => registers[to] = immediate as u64,
                AND => registers[to] &= i64::from(immediate) as u64,
                SHIFT_RIGHT => registers[to] >>= immediate,
                JUMP_EQUAL if equal => at += offset as usize,
                JUMP_UNEQUAL if !equal => at += offset as usize,
                JUMP_EQUAL | JUMP_UNEQUAL => {}
                EXIT => return registers[0],
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    fn expected(rules: &[Rule], kind: u32, access: u32, major: u32, minor: u32) -> bool {
        let concerns = |rule: &&Rule| {
            let kind = match rule.kind {
                NodeKind::Any => true,
                NodeKind::Block => kind == 1,
                NodeKind::Char => kind == 2,
            };
            let access = if rule.allow { access & !rule.access == 0 } else { access & rule.access != 0 };
            kind && access && rule.major.is_none_or(|one| one == major) && rule.minor.is_none_or(|one| one == minor)
        };
        rules.iter().rev().find(concerns).is_none_or(|rule| rule.allow)
    }

    fn rule() -> impl Strategy<Value = Rule> {
        let kind = prop_oneof![Just(NodeKind::Any), Just(NodeKind::Block), Just(NodeKind::Char)];
        let number = || proptest::option::of(prop_oneof![0u32..4, Just(u32::MAX)]);
        (any::<bool>(), kind, number(), number(), 1u32..8).prop_map(|(allow, kind, major, minor, access)| Rule {
            allow,
            kind,
            major,
            minor,
            access,
        })
    }

    proptest! {
        #[test]
        fn the_program_decides_as_the_rules_say(
            rules in proptest::collection::vec(rule(), 0..8),
            kind in 1u32..3, access in 1u32..8, major in prop_oneof![0u32..4, Just(u32::MAX)], minor in 0u32..4,
        ) {
            let answer = run(&compile(&rules), [access << 16 | kind, major, minor]);
            prop_assert_eq!(answer == 1, expected(&rules, kind, access, major, minor));
        }
    }
}
