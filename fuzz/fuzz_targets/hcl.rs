//! A SPIRE server's configuration: whatever is read says where a mistake is, and is read the same again.
#![no_main]

use countersign::policy::parse_spire_config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // In YAML a carriage return ends a line too.
    let lines = u32::try_from(text.split(['\n', '\r']).count()).expect("it is short");
    match parse_spire_config("server.conf", text, None) {
        Ok((server, _)) => {
            let (again, _) = parse_spire_config("server.conf", text, None).expect("what was good is good");
            assert_eq!(server, again);
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            assert!(errors.iter().all(|error| (1..=lines + 1).contains(&error.at.line)), "{errors:?}");
        }
    }
    let _ = parse_spire_config("server.conf", text, Some(&|name: &str| Some(name.to_owned())));
});
