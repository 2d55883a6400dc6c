//! Kernels from their text, and the cache on disk.
#![cfg(target_os = "linux")]

mod fake;

use fake::{Folder, Machine};
use megatron_cuda::{Cache, Code, Compiler, Environment, Source};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::{env, fs};

const SOURCE: Source = Source { name: "axpy", text: "void axpy()", options: &["-DBF16"] };

fn compiler(machine: &Machine, folder: &Folder) -> Compiler {
    Compiler::new(&machine.device, Cache::of(&Environment::only(&[("MEGATRON_CACHE", folder.text())])))
}

/// The kept files, sorted.
fn kept(folder: &Folder) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder.0.join("kernels")).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

#[test]
fn what_was_compiled_once_comes_from_disk() {
    let (machine, folder) = (Machine::new("capability=80"), Folder::new());
    let first = compiler(&machine, &folder).compile(SOURCE).unwrap();
    let again = compiler(&machine, &folder).compile(SOURCE).unwrap();
    assert_eq!((first.is_cached, again.is_cached, first.cubin == again.cubin), (false, true, true));
    assert!(String::from_utf8(first.cubin).unwrap().starts_with("fake cubin --gpu-architecture=sm_80 -DBF16\nvoid axpy"));
    assert_eq!((machine.compilations(), kept(&folder).len()), (1, 1));
}

#[test]
fn whatever_a_kernel_depends_on_names_another_file() {
    let (machine, folder) = (Machine::new(""), Folder::new());
    let others = [
        SOURCE,
        Source { text: "void axpy() {}", ..SOURCE },
        Source { options: &["-DF16"], ..SOURCE },
        Source { options: &["-D", "BF16"], ..SOURCE },
        Source { options: &[], ..SOURCE },
    ];
    for source in others {
        assert!(!compiler(&machine, &folder).compile(source).unwrap().is_cached);
    }
    let ampere = Machine::new("capability=86");
    assert!(!compiler(&ampere, &folder).compile(SOURCE).unwrap().is_cached);
    assert_eq!(kept(&folder).len(), others.len() + 1);
    // The name is for errors alone.
    assert!(compiler(&machine, &folder).compile(Source { name: "renamed", ..SOURCE }).unwrap().is_cached);
}

#[test]
fn a_file_that_is_not_whole_is_compiled_again_and_replaced() {
    let (machine, folder) = (Machine::new(""), Folder::new());
    let whole = compiler(&machine, &folder).compile(SOURCE).unwrap().cubin;
    let path = &kept(&folder)[0];
    let good = fs::read(path).unwrap();
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let longer = [good.as_slice(), b"x"].concat();
    for bad in [&[], &good[..20], &good[..good.len() - 1], &flipped, &longer, b"something else entirely, and longer than the head is"] {
        fs::write(path, bad).unwrap();
        let again = compiler(&machine, &folder).compile(SOURCE).unwrap();
        assert_eq!((again.is_cached, &again.cubin, fs::read(path).unwrap() == good), (false, &whole, true));
    }
}

#[test]
fn a_folder_that_cannot_be_written_costs_time_only() {
    let (machine, folder) = (Machine::new(""), Folder::new());
    fs::write(folder.0.join("kernels"), "in the way").unwrap();
    let made = compiler(&machine, &folder).compile(SOURCE).unwrap();
    let reason = made.not_kept.unwrap();
    assert!(reason.starts_with("kernel cache: ") && reason.contains("or set MEGATRON_CACHE to a folder that is."), "{reason}");
    assert!(Compiler::new(&machine.device, None).compile(SOURCE).unwrap().not_kept.is_none());
}

#[test]
fn a_text_that_does_not_compile_is_refused_in_the_compilers_words_and_not_kept() {
    let (machine, folder) = (Machine::new(""), Folder::new());
    let error = compiler(&machine, &folder).compile(Source { text: "#error", ..SOURCE }).err().unwrap();
    let wanted = "kernel axpy: NVRTC 13.0 does not compile it with --gpu-architecture=sm_90a -DBF16 (status 6). \
                  Correct its text: axpy(1): error: #error directive";
    assert_eq!((error.code, error.message.as_str()), (Code::Compile, wanted));
    assert!(!folder.0.join("kernels").exists());
    assert!(compiler(&machine, &folder).compile(Source { text: "a\0b", ..SOURCE }).is_err());
}

#[test]
fn the_cache_lies_where_the_environment_says() {
    let path = |variables: &[(&str, &str)]| Cache::of(&Environment::only(variables)).map(|cache| cache.path("k").display().to_string());
    let all = [("MEGATRON_CACHE", "/a"), ("XDG_CACHE_HOME", "/b"), ("HOME", "/c")];
    assert_eq!(path(&all).unwrap(), "/a/kernels/k.cubin");
    assert_eq!(path(&all[1..]).unwrap(), "/b/megatron-ts/kernels/k.cubin");
    assert_eq!(path(&all[2..]).unwrap(), "/c/.cache/megatron-ts/kernels/k.cubin");
    assert_eq!(path(&[]), None);
}

const SHARED: &str = "MEGATRON_TEST_SHARED_CACHE";

/// Run by the test below in processes of its own; alone it has nothing to do.
#[test]
fn one_of_several_processes() {
    let Ok(top) = env::var(SHARED) else { return };
    let machine = Machine::new("");
    let cache = || Cache::of(&Environment::only(&[("MEGATRON_CACHE", &top)]));
    for turn in 0..50 {
        let text = format!("void kernel_{turn}() {}", "x".repeat(100_000));
        let made = Compiler::new(&machine.device, cache()).compile(Source { text: &text, ..SOURCE }).unwrap();
        assert!(made.not_kept.is_none() && String::from_utf8(made.cubin).unwrap().ends_with(&format!("{text}\0")));
    }
}

#[test]
fn several_processes_at_once_never_see_half_a_file() {
    let folder = Folder::new();
    let start = || {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["one_of_several_processes", "--exact"]).env(SHARED, folder.text()).stdout(Stdio::null()).spawn().unwrap()
    };
    let processes = [start(), start(), start()];
    for mut process in processes {
        assert!(process.wait().unwrap().success());
    }
    let names: Vec<PathBuf> = kept(&folder);
    assert_eq!(names.len(), 50);
    assert!(names.iter().all(|name| name.extension().is_some_and(|ending| ending == "cubin")));
}
