//! The search for libraries: what is found, and a sentence for everything that is not.
#![cfg(target_os = "linux")]

mod fake;

use fake::{ALL, DRIVER, Folder, NEEDED, NVRTC, control};
use megatron_cuda::{Code, Device, Environment, LibraryReport, LibraryState, Toolkit, doctor};
use std::fs;

fn named(folder: &Folder) -> Environment {
    Environment::only(&[("MEGATRON_CUDA_LIBS", folder.text())])
}

fn complete() -> Folder {
    let folder = Folder::new();
    folder.install_all();
    folder
}

/// The sentence of the refusal of device 0, with the folder's name left out.
fn refusal(folder: &Folder) -> String {
    doctor(&named(folder)).refusal(0).unwrap().replace(folder.text(), "$LIBS")
}

fn report<'a>(reports: &'a [LibraryReport], name: &str) -> &'a LibraryReport {
    reports.iter().find(|report| report.name == name).unwrap()
}

#[test]
fn every_library_of_a_folder_is_found_with_its_version_and_so_are_the_devices() {
    let folder = complete();
    control(&folder.0.join(DRIVER), "devices=2 memory=1000000 capability=100 driver=13020");
    let found = doctor(&named(&folder));
    let versions: Vec<String> = found
        .libraries
        .iter()
        .map(|report| match &report.state {
            LibraryState::Found { path, version } => {
                assert_eq!(path.parent(), Some(folder.0.as_path()));
                format!("{} {version}", report.name)
            }
            state => panic!("{}: {state:?}", report.name),
        })
        .collect();
    let wanted =
        ["CUDA driver 13.2", "NVRTC 13.0", "NVRTC builtins 13.0", "cuBLASLt 13.1.0", "cuBLAS 13.1.0", "cuDNN 9.19.0", "NCCL 2.28.9"];
    assert_eq!(versions, wanted);
    let devices = found.devices.clone().unwrap();
    let seen: Vec<_> =
        devices.iter().map(|device| (device.index, device.name.as_str(), device.memory, device.compute_capability)).collect();
    assert_eq!(seen, [(0, "Fake device 0", 1_000_000, (10, 0)), (1, "Fake device 1", 1_000_000, (10, 0))]);
    assert_eq!((found.refusal(0), found.refusal(1)), (None, None));
}

#[test]
fn what_attention_and_several_ranks_need_may_be_missing() {
    let folder = Folder::new();
    for name in NEEDED {
        folder.install(name);
    }
    let found = doctor(&named(&folder));
    assert_eq!(found.refusal(0), None);
    assert!(matches!(report(&found.libraries, "NCCL").state, LibraryState::Missing { .. }));
    assert!(Toolkit::find(&named(&folder)).is_ok());
}

#[test]
fn a_missing_library_is_named_with_the_places_that_were_tried() {
    let folder = complete();
    fs::remove_file(folder.0.join("libcublasLt.so.13")).unwrap();
    let wanted = "cuBLASLt: libcublasLt.so.13 was not found in $LIBS. \
                  Install the Python package nvidia-cublas of CUDA 13, or name its folder in MEGATRON_CUDA_LIBS.";
    assert_eq!(refusal(&folder), wanted);
    let error = Toolkit::find(&named(&folder)).err().unwrap();
    assert_eq!((error.code, error.message.replace(folder.text(), "$LIBS").as_str()), (Code::Library, wanted));
    let empty = Folder::new();
    assert_eq!(
        refusal(&empty),
        "CUDA driver: libcuda.so.1 was not found in $LIBS. \
         Install NVIDIA's driver 580 or newer, or name its folder in MEGATRON_CUDA_LIBS."
    );
    assert!(doctor(&named(&empty)).devices.is_err());
}

#[test]
fn a_library_of_another_major_version_is_named() {
    let folder = complete();
    fs::rename(folder.0.join(NVRTC), folder.0.join("libnvrtc.so.12")).unwrap();
    let wanted = "NVRTC: $LIBS/libnvrtc.so.12 is of another major version than 13. \
                  Install the Python package nvidia-cuda-nvrtc of CUDA 13, or name its folder in MEGATRON_CUDA_LIBS.";
    assert_eq!(refusal(&folder), wanted);
    let folder = complete();
    control(&folder.0.join(NVRTC), "nvrtc=14010");
    let state = &report(&doctor(&named(&folder)).libraries, "NVRTC").state.clone();
    assert_eq!(*state, LibraryState::WrongMajor { path: folder.0.join(NVRTC) });
}

#[test]
fn a_driver_and_libraries_that_are_too_old_are_named_with_their_versions() {
    let folder = complete();
    control(&folder.0.join(DRIVER), "driver=12080");
    assert_eq!(
        refusal(&folder),
        "CUDA driver: version 12.8 of $LIBS/libcuda.so.1 is older than 13.0. \
         Install NVIDIA's driver 580 or newer, or name its folder in MEGATRON_CUDA_LIBS."
    );
    let folder = complete();
    control(&folder.0.join("libnccl.so.2"), "nccl=21805");
    let found = doctor(&named(&folder));
    assert_eq!(found.refusal(0), None);
    let sentence = report(&found.libraries, "NCCL").refusal().unwrap();
    assert!(sentence.contains("version 2.18.5 of ") && sentence.contains(" is older than 2.19."), "{sentence}");
}

#[test]
fn a_file_that_is_no_library_and_one_without_the_functions_are_named() {
    let folder = complete();
    fs::write(folder.0.join(NVRTC), "not a library").unwrap();
    let sentence = refusal(&folder);
    assert!(sentence.starts_with("NVRTC: $LIBS/libnvrtc.so.13 cannot be used ("), "{sentence}");
    assert!(sentence.contains("libnvrtc.so.13: file too short") || sentence.contains("invalid ELF header"), "{sentence}");
    let folder = complete();
    fs::remove_file(folder.0.join(DRIVER)).unwrap();
    let other = ["/lib/x86_64-linux-gnu/libm.so.6", "/lib/aarch64-linux-gnu/libm.so.6", "/lib64/libm.so.6", "/usr/lib/libm.so.6"];
    let Some(other) = other.into_iter().find(|path| fs::exists(path).unwrap_or(false)) else { return };
    fs::copy(other, folder.0.join(DRIVER)).unwrap();
    let sentence = refusal(&folder);
    assert!(sentence.starts_with("CUDA driver: $LIBS/libcuda.so.1 cannot be used (it has no function cuDriverGetVersion)"), "{sentence}");
}

#[test]
fn no_device_and_a_number_out_of_range_are_one_sentence_each() {
    let folder = complete();
    control(&folder.0.join(DRIVER), "devices=0");
    let none = "CUDA driver: there is no device. See whether nvidia-smi lists one, and what CUDA_VISIBLE_DEVICES hides.";
    assert_eq!(refusal(&folder), none);
    let toolkit = Toolkit::find(&named(&folder)).unwrap();
    let error = Device::open(&toolkit, 0).err().unwrap();
    assert_eq!((error.code, error.message.as_str()), (Code::NoDevice, none));
    for (devices, wanted) in
        [(1, "device 7: there is one device. Use cuda:0."), (3, "device 7: there are 3 devices. Use cuda:0 to cuda:2.")]
    {
        control(&folder.0.join(DRIVER), &format!("devices={devices}"));
        assert_eq!(Device::open(&toolkit, 7).err().unwrap().message, wanted);
        assert_eq!(doctor(&named(&folder)).refusal(7).as_deref(), Some(wanted));
    }
    control(&folder.0.join(DRIVER), "fail=cuInit:101:0");
    let sentence = Device::open(&toolkit, 0).err().unwrap().message;
    assert!(sentence.starts_with("CUDA driver: cuInit fails with CUDA_ERROR_INVALID_DEVICE. "), "{sentence}");
}

#[test]
fn named_folders_come_first_then_cuda_home_then_wheels_of_each_python() {
    let (named, home, virtual_env, conda, python, path) =
        (Folder::new(), Folder::new(), Folder::new(), Folder::new(), Folder::new(), Folder::new());
    let site = "lib/python3.12/site-packages/nvidia";
    named.install("libnccl.so.2");
    home.install("lib64/libcuda.so.1");
    home.install("lib64/libnccl.so.2");
    python.install(&format!("{site}/cu13/lib/libnvrtc.so.13"));
    python.install(&format!("{site}/cu13/lib/libnvrtc-builtins.so.13.0"));
    virtual_env.install(&format!("{site}/cu13/lib/libcublasLt.so.13"));
    conda.install(&format!("{site}/cudnn/lib/libcudnn.so.9"));
    path.install("nvidia/cu13/lib/libcublas.so.13");
    let interpreter = python.0.join("bin/python3");
    let variables = [
        ("MEGATRON_CUDA_LIBS", named.text()),
        ("CUDA_HOME", home.text()),
        ("MEGATRON_PYTHON", interpreter.to_str().unwrap()),
        ("VIRTUAL_ENV", virtual_env.text()),
        ("CONDA_PREFIX", conda.text()),
        ("PYTHONPATH", path.text()),
    ];
    let found = doctor(&Environment::only(&variables));
    let owners = [&home, &python, &python, &virtual_env, &path, &conda, &named];
    for (report, owner) in found.libraries.iter().zip(owners) {
        match &report.state {
            LibraryState::Found { path, .. } => assert!(path.starts_with(&owner.0), "{}: {}", report.name, path.display()),
            state => panic!("{}: {state:?}", report.name),
        }
    }
}

#[test]
fn an_unfit_library_is_passed_over_unless_its_folder_was_named() {
    let (old, new) = (Folder::new(), complete());
    control(&old.install("lib64/libcuda.so.1"), "driver=12080");
    let site = Folder::new();
    for name in ALL {
        site.install(&format!("nvidia/cu13/lib/{name}"));
    }
    let found = doctor(&Environment::only(&[("CUDA_HOME", old.text()), ("PYTHONPATH", site.text())]));
    assert_eq!(found.refusal(0), None);
    let list = format!("{}:{}", old.0.join("lib64").display(), new.text());
    let found = doctor(&Environment::only(&[("MEGATRON_CUDA_LIBS", &list)]));
    assert!(found.refusal(0).unwrap().starts_with("CUDA driver: version 12.8 of "));
}
