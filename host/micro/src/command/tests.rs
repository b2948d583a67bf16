use super::*;
use clap::CommandFactory;

fn parse(words: &[&str]) -> Result<Arguments, clap::Error> {
    Arguments::try_parse_from(std::iter::once("micro").chain(words.iter().copied()))
}

#[test]
fn the_command_line_is_consistent() {
    Arguments::command().debug_assert();
}

#[test]
fn flags_of_several_words_are_taken_in_both_spellings() {
    for command in Arguments::command().get_subcommands() {
        for flag in command.get_arguments().filter_map(|argument| argument.get_long().map(|long| (argument, long))) {
            let (argument, long) = flag;
            if !long.contains('-') {
                continue;
            }
            let other = long.replace('-', "_");
            let is_taken = argument.get_all_aliases().is_some_and(|all| all.contains(&other.as_str()));
            assert!(is_taken, "{} --{long} without --{other}", command.get_name());
        }
    }
    let both = ["--proxy_address=1.2.3.4:5", "--data_dir=/x"];
    assert!(parse(&[both[0], both[1], "ps"]).is_ok());
    assert!(parse(&["ps", both[0], both[1]]).is_ok());
    assert!(parse(&["server", "--api_address=:0", "--sidecar-address", "127.0.0.1:0"]).is_ok());
}

#[test]
fn the_toolkits_spellings_are_understood() {
    for words in [
        &["list", "services"][..],
        &["get", "service", "greeter"],
        &["registry", "list", "services"],
        &["registry", "get", "service", "greeter"],
        &["query", "greeter", "Say.Hello", "{\"name\":", "\"John\"}"],
        &["call", "greeter", "Say.Hello", "{}", "--metadata", "a=b", "--metadata", "c=d"],
        &["logs", "-f", "-n", "5", "greeter"],
    ] {
        assert!(parse(words).is_ok(), "{words:?}");
    }
}

#[test]
fn an_unknown_command_is_told_by_its_name() {
    let Some(Command::Unknown(words)) = parse(&["sing", "loud"]).unwrap().command else {
        panic!("expected an unknown command");
    };
    assert_eq!(words, ["sing", "loud"]);
    assert!(parse(&[]).unwrap().command.is_none());
}
