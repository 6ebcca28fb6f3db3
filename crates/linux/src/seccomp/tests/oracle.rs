//! Any rules, any call: the program answers what the rules say, read one by one.

use super::*;
use crate::seccomp::tables::SYSCALLS;
use proptest::{prelude::*, sample::select};
use rorqual_oci::runtime::{Seccomp, SeccompArg, SeccompRule};

const OPS: [&str; 7] =
    ["SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ"];

fn verdict(action: &str, errno: Option<u32>) -> u32 {
    match action {
        "SCMP_ACT_ALLOW" => 0x7fff_0000,
        "SCMP_ACT_LOG" => 0x7ffc_0000,
        "SCMP_ACT_TRAP" => 0x0003_0000,
        "SCMP_ACT_TRACE" => 0x7ff0_0000 | errno.unwrap_or(1),
        "SCMP_ACT_ERRNO" => 0x0005_0000 | errno.unwrap_or(1),
        "SCMP_ACT_KILL" => 0,
        "SCMP_ACT_KILL_PROCESS" => 0x8000_0000,
        other => panic!("{other}"),
    }
}

fn holds(arg: &SeccompArg, call: &Call, wide: bool) -> bool {
    let cut = |value: u64| if wide { value } else { u64::from(value as u32) };
    let (found, value) = (cut(call.args[arg.index as usize]), cut(arg.value));
    match arg.op.as_str() {
        "SCMP_CMP_NE" => found != value,
        "SCMP_CMP_LT" => found < value,
        "SCMP_CMP_LE" => found <= value,
        "SCMP_CMP_EQ" => found == value,
        "SCMP_CMP_GE" => found >= value,
        "SCMP_CMP_GT" => found > value,
        _ => found & value == cut(arg.value_two) & value,
    }
}

fn expected(rules: &Seccomp, call: &Call) -> u32 {
    let default = verdict(&rules.default_action, rules.default_errno_ret);
    let arch = match call.arch {
        0xc000_003e => Arch::X86_64,
        0x4000_0003 if rules.architectures.iter().any(|name| name == "SCMP_ARCH_X86") => Arch::X86,
        _ => return 0x8000_0000,
    };
    if arch == Arch::X86_64 && call.number >= 0x4000_0000 {
        return 0x0005_0026;
    }
    let numbers = |rule: &SeccompRule| rule.names.iter().filter_map(|name| arch.number(name)).collect::<Vec<_>>();
    let newest = rules.syscalls.iter().flat_map(numbers).max();
    if newest.is_none_or(|newest| call.number > newest) {
        let passes = ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"].contains(&rules.default_action.as_str());
        return if passes { default } else { 0x0005_0026 };
    }
    let concerned = || {
        let named = |rule: &&SeccompRule| numbers(rule).contains(&call.number);
        let changes = |rule: &&SeccompRule| verdict(&rule.action, rule.errno_ret) != default;
        rules.syscalls.iter().filter(named).filter(changes)
    };
    let matches = |rule: &&SeccompRule| {
        let mut indices: Vec<u32> = rule.args.iter().map(|arg| arg.index).collect();
        indices.sort_unstable();
        let repeated = indices.windows(2).any(|pair| pair[0] == pair[1]);
        let mut args = rule.args.iter();
        let wide = arch != Arch::X86;
        if repeated { args.any(|arg| holds(arg, call, wide)) } else { args.all(|arg| holds(arg, call, wide)) }
    };
    let rule = concerned().find(|rule| rule.args.is_empty()).or_else(|| concerned().find(matches));
    rule.map_or(default, |rule| verdict(&rule.action, rule.errno_ret))
}

/// Values that meet each other, in both halves.
fn value() -> impl Strategy<Value = u64> {
    let half = || select(vec![0u64, 1, 2, 0x7e02_0000, 0x8000_0000, 0xffff_ffff]);
    (half(), half()).prop_map(|(high, low)| high << 32 | low)
}

fn action() -> impl Strategy<Value = (String, Option<u32>)> {
    let names = ["ALLOW", "ERRNO", "KILL", "KILL_PROCESS", "TRAP", "LOG", "TRACE"];
    (select(names.to_vec()), proptest::option::of(1u32..100))
        .prop_map(|(name, errno)| (format!("SCMP_ACT_{name}"), errno))
}

fn rule() -> impl Strategy<Value = SeccompRule> {
    let names: Vec<&'static str> = SYSCALLS.iter().map(|entry| entry.0).chain(["no_such_call"]).collect();
    let names = prop_oneof![
        3 => proptest::collection::vec(select(vec!["read", "write", "clone", "socket", "mmap2"]), 1..3),
        1 => proptest::collection::vec(select(names), 0..60),
    ];
    let arg = (0u32..6, value(), value(), select(OPS.to_vec()));
    let arg = arg.prop_map(|(index, value, value_two, op)| SeccompArg { index, value, value_two, op: op.to_owned() });
    (names, action(), proptest::collection::vec(arg, 0..4)).prop_map(|(names, (action, errno_ret), args)| SeccompRule {
        names: names.into_iter().map(str::to_owned).collect(),
        action,
        errno_ret,
        args,
    })
}

fn rules() -> impl Strategy<Value = Seccomp> {
    let rules = proptest::collection::vec(rule(), 0..8);
    (action(), rules, any::<bool>()).prop_map(|((default_action, default_errno_ret), syscalls, both)| {
        let architectures =
            if both { vec!["SCMP_ARCH_X86".to_owned(), "SCMP_ARCH_X32".to_owned()] } else { Vec::new() };
        Seccomp { default_action, default_errno_ret, syscalls, architectures, ..Seccomp::default() }
    })
}

fn call() -> impl Strategy<Value = Call> {
    let arch = prop_oneof![6 => Just(0xc000_003eu32), 3 => Just(0x4000_0003), 1 => any::<u32>()];
    let number = prop_oneof![
        4 => select(vec![0u32, 1, 3, 4, 41, 56, 102, 120, 192]),
        4 => 0u32..480,
        1 => prop_oneof![Just(0x4000_0000u32), Just(0x4000_0001), Just(u32::MAX), any::<u32>()],
    ];
    let args = proptest::array::uniform6(value());
    (arch, number, args).prop_map(|(arch, number, args)| Call { arch, number, args })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn the_program_does_what_the_rules_say(rules in rules(), calls in proptest::collection::vec(call(), 50)) {
        let program = compile_for(&rules, Arch::X86_64).unwrap();
        for call in calls {
            prop_assert_eq!(run(&program, call), expected(&rules, &call), "{:?}", call);
        }
    }
}

#[test]
fn wrong_rules_are_refused() {
    let rule = |action: &str, index, op: &str| Seccomp {
        default_action: "SCMP_ACT_ERRNO".into(),
        syscalls: vec![SeccompRule {
            names: vec!["read".into()],
            action: action.into(),
            errno_ret: None,
            args: vec![SeccompArg { index, value: 0, value_two: 0, op: op.into() }],
        }],
        ..Seccomp::default()
    };
    assert!(compile(&rule("SCMP_ACT_ALLOW", 0, "SCMP_CMP_EQ")).is_ok());
    assert!(compile(&rule("SCMP_ACT_NOTIFY", 0, "SCMP_CMP_EQ")).is_err());
    assert!(compile(&rule("SCMP_ACT_ALLOW", 6, "SCMP_CMP_EQ")).is_err());
    assert!(compile(&rule("SCMP_ACT_ALLOW", 0, "EQ")).is_err());
    assert!(compile(&Seccomp::default()).is_err());
    let agent = Seccomp { listener_path: "/x".into(), ..rule("SCMP_ACT_ALLOW", 0, "SCMP_CMP_EQ") };
    assert!(compile(&agent).is_err());
    let flag = Seccomp { flags: vec!["X".into()], ..rule("SCMP_ACT_ALLOW", 0, "SCMP_CMP_EQ") };
    assert!(compile(&flag).is_err());
}
