use super::*;
use crate::manifest::Manifest;
use async_trait::async_trait;
use http::Uri;
use std::collections::HashMap;
use std::io;

/// Knows the names that a test gives it.
#[derive(Debug, Default)]
struct Book(HashMap<&'static str, &'static str>);

#[async_trait]
impl Resolver for Book {
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let found = self.0.get(name).ok_or_else(|| io::Error::other("nobody knows it"))?;
        Ok(found.split(' ').map(|address| address.parse().unwrap()).collect())
    }
}

fn egress(allow: &str) -> Egress {
    let manifest = Manifest::parse(&format!("[allow]\n{allow}")).unwrap();
    Egress::new(&manifest.allow, Arc::default())
}

/// Whether the host of a URL is named, and may be at this address.
fn request(allow: &str, url: &str, address: &str) -> Result<(), String> {
    let rules = egress(allow).rules;
    let (_, target) = connect::target(&url.parse::<Uri>().unwrap()).ok_or("no target")?;
    if !rules.names(&target) {
        return Err(Denial { target, address: None }.to_string());
    }
    rules.check_address(&target, address.parse().unwrap()).map_err(|denial| denial.to_string())
}

#[test]
fn a_name_is_let_out_to_public_addresses() {
    let allow = "http = [\"api.example.com\", \"*.example.org:8443\"]";
    assert_eq!(request(allow, "https://api.example.com/x", "1.1.1.1"), Ok(()));
    assert_eq!(request(allow, "http://API.example.com./", "1.1.1.1"), Ok(()));
    assert_eq!(request(allow, "https://a.b.example.org:8443/", "1.1.1.1"), Ok(()));
    assert_eq!(
        request(allow, "https://api.example.com:444/", "1.1.1.1").unwrap_err(),
        "the request to https://api.example.com:444 was refused: [allow] does not name it; \
         http = [\"api.example.com:444\"] below [allow] in micro.toml permits it"
    );
    assert!(request(allow, "https://example.org:8443/", "1.1.1.1").is_err());
    assert!(request("", "https://api.example.com/", "1.1.1.1").unwrap_err().contains("http = [\"api.example.com\"]"));
}

#[test]
fn a_name_is_not_let_out_to_addresses_that_nobody_named() {
    let allow = "http = [\"api.example.com\", \"*:8080\", \"10.0.0.0/8\", \"[fd00::1]:80\", \"localhost:8080\"]";
    assert_eq!(request(allow, "http://api.example.com/", "10.1.2.3"), Ok(()), "the network is named");
    assert_eq!(request(allow, "http://api.example.com/", "fd00::1"), Ok(()));
    for address in ["127.0.0.1", "::1", "192.168.0.1", "169.254.169.254", "fd00::2", "::ffff:127.0.0.1"] {
        assert!(request(allow, "http://api.example.com/", address).is_err(), "{address}");
    }
    assert_eq!(
        request(allow, "http://api.example.com/", "::ffff:192.168.0.1").unwrap_err(),
        "the request to http://api.example.com was refused: it is at 192.168.0.1, a private address, which [allow] does \
         not name; http = [\"192.168.0.1\"] below [allow] in micro.toml permits it"
    );
    assert_eq!(request(allow, "http://any.example.com:8080/", "1.1.1.1"), Ok(()));
    assert!(request(allow, "http://any.example.com:8080/", "127.0.0.1").is_err(), "only localhost is at home");
    assert!(
        request(allow, "http://any.example.com:8080/", "10.0.0.1").is_err(),
        "the network is named for another port"
    );
    assert_eq!(request(allow, "http://localhost:8080/", "127.0.0.1"), Ok(()));
    assert_eq!(request(allow, "http://localhost:8080/", "::1"), Ok(()));
    assert!(request(allow, "http://localhost:8080/", "10.0.0.1").is_err());
    assert!(request(allow, "http://127.0.0.1:8080/", "127.0.0.1").unwrap_err().contains("it is a loopback address"));
    assert_eq!(request(allow, "http://8.8.8.8:8080/", "8.8.8.8"), Ok(()));
    assert!(request(allow, "http://8.8.8.8/", "8.8.8.8").is_err());
    assert_eq!(request(allow, "http://[fd00::1]/", "fd00::1"), Ok(()));
}

#[test]
fn an_address_with_a_user_or_without_a_port_is_no_target() {
    for url in ["http://user@a.com/", "http://a.com:0/", "ftp://a.com/", "/path"] {
        assert_eq!(connect::target(&url.parse::<Uri>().unwrap()), None, "{url}");
    }
}

#[test]
fn tcp_goes_to_named_addresses_and_to_what_named_hosts_stand_for() {
    let egress = egress("tcp = [\"db.internal:5432\", \"10.0.0.5:6379\", \"localhost:9000\", \"*.example.com:*\"]");
    let check = |address: &str, names: &[&str]| {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        egress.check_tcp(address.parse().unwrap(), &names).map_err(|denial| denial.to_string())
    };
    assert_eq!(check("10.0.0.5:6379", &[]), Ok(()));
    assert_eq!(check("1.1.1.1:5432", &["db.internal"]), Ok(()));
    assert_eq!(check("1.1.1.1:1", &["other.org", "a.example.com"]), Ok(()));
    assert_eq!(check("127.0.0.1:9000", &["localhost"]), Ok(()));
    assert_eq!(
        check("1.1.1.1:5432", &[]).unwrap_err(),
        "the TCP connection to 1.1.1.1:5432 was refused: [allow] does not name it; tcp = [\"1.1.1.1:5432\"] below \
         [allow] in micro.toml permits it"
    );
    assert!(check("1.1.1.1:5433", &["db.internal"]).is_err());
    assert!(check("127.0.0.1:9000", &[]).is_err() && check("10.0.0.5:80", &[]).is_err());
    let detail = check("192.168.1.1:5432", &["db.internal"]).unwrap_err();
    assert!(detail.contains("db.internal:5432 was refused: it is at 192.168.1.1, a private address"), "{detail}");
    assert!(detail.contains("tcp = [\"192.168.1.1:5432\"]"), "{detail}");
}

#[test]
fn only_names_that_may_be_connected_to_are_looked_up() {
    let egress = egress("http = [\"api.example.com\"]\ntcp = [\"*.internal:5432\"]");
    assert_eq!(egress.check_look_up("DB.internal."), Ok("db.internal".into()));
    let denial = egress.check_look_up("api.example.com").unwrap_err().to_string();
    assert_eq!(
        denial,
        "the look-up of api.example.com was refused: [allow] does not name it; tcp = [\"api.example.com:PORT\"] below \
         [allow] in micro.toml permits it"
    );
}

#[tokio::test]
async fn what_is_connected_to_is_what_was_checked() {
    let book = Book(HashMap::from([("both.example.com", "10.0.0.1 127.0.0.1"), ("home.example.com", "127.0.0.1")]));
    let outside = Arc::new(Outside { resolver: Arc::new(book), trust: Trust::default() });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connector = |allow: String| {
        let manifest = Manifest::parse(&format!("[allow]\nhttp = [\"*:{port}\"{allow}]")).unwrap();
        connect::Connector(Egress::new(&manifest.allow, outside.clone()).rules)
    };
    let uri = |host: &str| format!("http://{host}:{port}/").parse::<Uri>().unwrap();
    use tower_service::Service as _;
    let refused = connector(String::new()).call(uri("home.example.com")).await.map(drop).unwrap_err();
    assert!(refused.to_string().contains("127.0.0.1, a loopback address"), "{refused}");
    // The private address is left out, and the one that is named is connected to.
    connector(format!(", \"127.0.0.1:{port}\"")).call(uri("both.example.com")).await.map(drop).unwrap();
    assert!(listener.accept().await.is_ok());
    let unknown = connector(String::new()).call(uri("nobody.example.com")).await.map(drop).unwrap_err();
    assert!(unknown.to_string().contains("nobody knows it"), "{unknown}");
}

#[test]
fn any_host_is_not_this_machine() {
    let allow = "http = [\"*\", \"*:8080\", \"localhost:9000\"]\ntcp = [\"*:*\"]";
    for port in [80, 8080] {
        for address in ["127.0.0.1", "::1"] {
            let url = format!("http://localhost:{port}/");
            assert!(request(allow, &url, address).unwrap_err().contains("a loopback address"), "{url}");
        }
    }
    assert_eq!(request(allow, "http://localhost:9000/", "127.0.0.1"), Ok(()), "it is named");
    assert!(egress(allow).check_tcp("127.0.0.1:9000".parse().unwrap(), &["localhost".into()]).is_err());
}
