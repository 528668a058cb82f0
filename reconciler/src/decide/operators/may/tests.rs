//! The decision as a table over all routes and roles, and over limits.

use schema::name::{EdgeName, OperatorName, RuleName};
use schema::net::PortRange;

use super::*;
use crate::decide::operators::route::Method;

fn caller(role: Role, grant: Grant) -> Caller {
    Caller::new(OperatorName::new("ann").expect("a name"), role, grant)
}

fn limited() -> Grant {
    let one = |text: &str| vec![text.to_owned()];
    Grant { edges: one("fra-*"), ports: one("8000-8999"), owners: one("team-web") }
}

fn touch(edge: &str, ports: &[&str], owners: &[&str]) -> Touch {
    Touch::Rule {
        edge: EdgeName::new(edge).expect("a name"),
        rule: RuleName::new("web").expect("a name"),
        ports: ports.iter().map(|text| PortRange::parse(text).expect("ports")).collect(),
        owners: owners.iter().map(|text| (*text).to_owned()).collect(),
    }
}

/// The weakest role of each route, and of its dry run, as the product promises it; none where no operator may.
fn promised(route: Route) -> Option<(Role, Role)> {
    use Role::{Admin, Applier, Planner, Viewer};
    let role = match route {
        Route::GitWebhook => return None,
        Route::Rollback => return Some((Applier, Planner)),
        Route::Validate | Route::Plan | Route::Propose | Route::RuleSource => Planner,
        Route::Apply
        | Route::Heartbeat
        | Route::Resume
        | Route::Freeze
        | Route::EndConnections
        | Route::ResetQuota
        | Route::ResetOwnerQuota
        | Route::Unfreeze
        | Route::CheckTargets
        | Route::SteerTarget
        | Route::ReleaseTarget
        | Route::TestNotifier
        | Route::AddOverride
        | Route::RemoveOverride => Applier,
        Route::ForgetEdge
        | Route::RevokeEdge
        | Route::InviteEdge
        | Route::RotateAuthority
        | Route::RetireAuthority
        | Route::Operators
        | Route::CreateOperator
        | Route::RevokeOperator
        | Route::Audit
        | Route::Backup => Admin,
        _ => {
            assert_eq!(route.row().method, Method::Get, "{route:?} does not only read: promise its role here");
            Viewer
        }
    };
    Some((role, role))
}

#[test]
fn every_role_may_what_is_promised_on_every_route_and_nothing_else() {
    for route in Route::ALL {
        for role in Role::ALL {
            for is_dry_run in [false, true] {
                let asked = AskedRoute { route: *route, is_dry_run };
                let least = promised(*route).map(|(real, dry_run)| if is_dry_run { dry_run } else { real });
                let may = may(&caller(role, Grant::default()), asked, None);
                match may {
                    Ok(()) => assert!(least.is_some_and(|least| role >= least), "{role} {route:?}"),
                    Err(Denied::Role { has, needs, .. }) => {
                        assert!(has == role && needs == least && least.is_none_or(|least| role < least), "{route:?}");
                    }
                    Err(other) => panic!("{role} {route:?}: {other}"),
                }
            }
        }
    }
}

#[test]
fn what_concerns_the_whole_fleet_needs_an_operator_without_limits() {
    let fleet = [
        Route::Freeze,
        Route::Unfreeze,
        Route::TestNotifier,
        Route::ForgetEdge,
        Route::RevokeEdge,
        Route::InviteEdge,
        Route::RotateAuthority,
        Route::RetireAuthority,
        Route::Operators,
        Route::CreateOperator,
        Route::RevokeOperator,
        Route::Audit,
        Route::Backup,
    ];
    for route in Route::ALL.iter().filter(|route| route.least(false).is_some()) {
        let is_allowed = may(&caller(Role::Admin, limited()), AskedRoute::for_real(*route), None).is_ok();
        assert_eq!(is_allowed, !fleet.contains(route), "{route:?}");
    }
}

#[test]
fn each_limit_holds_for_every_port_and_owner_before_and_after() {
    let apply =
        |touches: &[Touch]| may(&caller(Role::Applier, limited()), AskedRoute::for_real(Route::Apply), Some(touches));
    assert_eq!(apply(&[]), Ok(()));
    assert_eq!(apply(&[touch("fra-1", &["8000-8010", "8999"], &["team-web"])]), Ok(()));
    for (outside, named) in [
        (touch("ber-1", &["8000"], &["team-web"]), "ber-1/web"),
        (touch("fra-1", &["8000", "7999-8001"], &["team-web"]), "fra-1/web (ports 7999-8001)"),
        (touch("fra-1", &["8000"], &["team-web", "team-db"]), "fra-1/web (owner team-db)"),
        (touch("fra-1", &["8000"], &[""]), "fra-1/web (without an owner)"),
        (Touch::Settings, "portunus.toml"),
        (Touch::Fleet("the hold"), "the hold"),
    ] {
        let refused = apply(&[touch("fra-1", &["8000"], &["team-web"]), outside]).expect_err(named);
        assert_eq!((refused.code(), refused.changes()), ("outside_grant", &[named.to_owned()][..]));
        assert!(refused.to_string().contains("limited to edges fra-*; ports 8000-8999; owners team-web"), "{refused}");
    }
}

#[test]
fn an_operator_without_limits_may_change_everything() {
    let all = [touch("ber-1", &["1-65535"], &[""]), Touch::Settings, Touch::Fleet("the hold")];
    assert_eq!(may(&caller(Role::Applier, Grant::default()), AskedRoute::for_real(Route::Apply), Some(&all)), Ok(()));
}

#[test]
fn a_long_list_of_changes_is_named_in_part_and_counted() {
    let touches: Vec<Touch> = (0..30).map(|number| touch(&format!("ber-{number}"), &["8000"], &["team-web"])).collect();
    let refused = may(&caller(Role::Applier, limited()), AskedRoute::for_real(Route::Plan), Some(&touches));
    let refused = refused.expect_err("outside");
    assert_eq!(refused.changes().len(), 30);
    assert!(refused.to_string().ends_with("and 20 more"), "{refused}");
}
