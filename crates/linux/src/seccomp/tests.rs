//! The compiled program against the rules it came from, and the built-in profile against the kernel.

mod builtin;
mod oracle;

use super::*;

/// What a filter sees of a call.
#[derive(Clone, Copy, Debug)]
struct Call {
    arch: u32,
    number: u32,
    args: [u64; 6],
}

impl Call {
    fn native(number: u32, args: [u64; 6]) -> Self {
        Self { arch: 0xc000_003e, number, args }
    }

    /// `struct seccomp_data`, by words.
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.arch,
            16.. => {
                let arg = self.args[((offset - 16) / 8) as usize];
                if offset.is_multiple_of(8) { arg as u32 } else { (arg >> 32) as u32 }
            }
            other => panic!("load at {other}"),
        }
    }
}

/// Runs a program as the kernel does.
fn run(program: &Program, call: Call) -> u32 {
    let (mut accumulator, mut at) = (0u32, 0usize);
    loop {
        let Instruction { code, jt, jf, k } = program.instructions[at];
        at += 1;
        let branch = |yes: bool| usize::from(if yes { jt } else { jf });
        match code {
            0x20 => accumulator = call.word(k),
            0x54 => accumulator &= k,
            0x05 => at += k as usize,
            0x15 => at += branch(accumulator == k),
            0x25 => at += branch(accumulator > k),
            0x35 => at += branch(accumulator >= k),
            0x06 => return k,
            other => panic!("instruction {other:#x}"),
        }
    }
}
