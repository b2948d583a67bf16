//! What the server does in one step: each script runs as if nobody else were there.
//!
//! `pcall` stands where a stream or its group may be gone, since somebody may take a topic away that members hold messages
//! of: then nothing is held there.

use std::sync::LazyLock;

use redis::Script;

/// Adds a message to its topic, and counts the topic if it is new. Keys: stream, topics, created. Values: topic, header,
/// body.
pub static PUBLISH: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('SADD', KEYS[2], ARGV[1]) == 1 then redis.call('INCR', KEYS[3]) end
        return redis.call('XADD', KEYS[1], '*', 'Header', ARGV[2], 'Body', ARGV[3])",
    )
});

/// Keeps a message for later. The number makes those apart that are the same. Keys: later, serial. Values: time, topic,
/// header, body.
pub static DEFER: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local number = redis.call('INCR', KEYS[2])
        redis.call('ZADD', KEYS[1], ARGV[1], cmsgpack.pack({number, ARGV[2], ARGV[3], ARGV[4]}))",
    )
});

/// Publishes what was kept until now, some at a time so that others are not held up, and gives the time of the next one,
/// or -1. Keys: later, topics, created. Values: now, the beginning of the streams' keys.
pub static DUE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "for _, packed in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, 64)) do
            local kept = cmsgpack.unpack(packed)
            if redis.call('SADD', KEYS[2], kept[2]) == 1 then redis.call('INCR', KEYS[3]) end
            redis.call('XADD', ARGV[2] .. kept[2], '*', 'Header', kept[3], 'Body', kept[4])
            redis.call('ZREM', KEYS[1], packed)
        end
        local next = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
        return math.floor(tonumber(next[2] or '-1'))",
    )
});

/// Notes that a member is there. Keys: members. Values: group, member.
pub static PRESENT: LazyLock<Script> =
    LazyLock::new(|| Script::new("redis.call('ZADD', KEYS[1], redis.call('TIME')[1], ARGV[1] .. ' ' .. ARGV[2])"));

/// The members that were not heard of for some seconds. Keys: members. Values: seconds.
pub static SILENT: LazyLock<Script> = LazyLock::new(|| {
    Script::new("return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', redis.call('TIME')[1] - ARGV[1])")
});

/// Hands entries out again that a member holds: each with how often it was. Those that are gone, or that somebody else
/// took, are left out. Keys: stream. Values: group, member, ids.
pub static AGAIN: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local found = {}
        for at = 3, #ARGV do
            local id = ARGV[at]
            local held = redis.pcall('XPENDING', KEYS[1], ARGV[1], id, id, 1)[1]
            if held and held[2] == ARGV[2] then
                local entry = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, id)[1]
                if entry then table.insert(found, {entry[1], entry[2], held[4] + 1}) end
            end
        end
        return found",
    )
});

/// Takes over what nobody saw to for some time. Keys: stream. Values: group, member, milliseconds, how many.
pub static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local found, from, room = {}, '0-0', tonumber(ARGV[4])
        repeat
            local reply =
                redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], from, 'COUNT', room - #found, 'JUSTID')
            from = reply[1]
            for _, id in ipairs(reply[2]) do
                local held = redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1)[1]
                local entry = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, id)[1]
                if held and entry then table.insert(found, {entry[1], entry[2], held[4] + 1}) end
            end
        until from == '0-0' or #found >= room
        return found",
    )
});

/// Shows that entries are still held, so that nobody takes them over. Keys: stream. Values: group, member, ids.
pub static KEEP: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "for at = 3, #ARGV do
            local id = ARGV[at]
            local held = redis.pcall('XPENDING', KEYS[1], ARGV[1], id, id, 1)[1]
            if held and held[2] == ARGV[2] then
                redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, id, 'JUSTID')
            end
        end",
    )
});

/// Leaves entries to the others of a group: they count as not seen to for a day. Keys: stream, left. Values: group,
/// member, ids; without ids, all that the member holds, and the member is gone.
pub static LEAVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local stream, group, member = KEYS[1], ARGV[1], ARGV[2]
        local function leave(id)
            redis.call('XCLAIM', stream, group, 'left', 0, id, 'IDLE', 86400000, 'JUSTID')
        end
        for at = 3, #ARGV do
            local held = redis.pcall('XPENDING', stream, group, ARGV[at], ARGV[at], 1)[1]
            if held and held[2] == member then leave(ARGV[at]) end
        end
        if #ARGV == 2 then
            local from = '-'
            repeat
                local held = redis.pcall('XPENDING', stream, group, from, '+', 100, member)
                for _, entry in ipairs(held) do
                    leave(entry[1])
                    from = '(' .. entry[1]
                end
            until #held == 0
            redis.pcall('XGROUP', 'DELCONSUMER', stream, group, member)
        end
        redis.call('HINCRBY', KEYS[2], group, 1)",
    )
});

/// Forgets a group in the streams among the keys, and streams that nobody needs: those that exist since somebody subscribed
/// to them, and that nobody published to.
const FORGETS: &str = "
    local function forget(groups, left, sought, group, first)
        redis.call('HDEL', left, group)
        redis.call('HDEL', sought, group)
        local removed = redis.call('HDEL', groups, group)
        for at = first, #KEYS do
            if redis.call('EXISTS', KEYS[at]) == 1 then
                removed = removed + redis.call('XGROUP', 'DESTROY', KEYS[at], group)
                if redis.call('XLEN', KEYS[at]) == 0 and #redis.call('XINFO', 'GROUPS', KEYS[at]) == 0 then
                    redis.call('DEL', KEYS[at])
                end
            end
        end
        return removed
    end
";

/// Strikes a member off; the last one of a passing group takes the group along. Keys: members, groups, left,
/// sought, streams. Values: group, member.
pub static STRIKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        "{FORGETS}
        redis.call('ZREM', KEYS[1], ARGV[1] .. ' ' .. ARGV[2])
        if redis.call('HGET', KEYS[2], ARGV[1]) == 'durable' then return end
        local prefix = ARGV[1] .. ' '
        for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
            if string.sub(member, 1, #prefix) == prefix then return end
        end
        forget(KEYS[2], KEYS[3], KEYS[4], ARGV[1], 5)"
    ))
});

/// Takes a group away, in all its topics at once: a member that finds it in one of them goes on as if nothing had happened.
/// Gives how often it was there. Keys: groups, left, sought, streams. Values: group.
pub static FORGET: LazyLock<Script> =
    LazyLock::new(|| Script::new(&format!("{FORGETS} return forget(KEYS[1], KEYS[2], KEYS[3], ARGV[1], 4)")));

/// How much a topic holds: messages, bytes, the first id and the last one that was given. Keys: stream.
pub static USAGE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local stream = KEYS[1]
        if redis.call('EXISTS', stream) == 0 then return {0, 0, '0-0', '0-0'} end
        local first, last = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1], '0-0'
        local facts = redis.call('XINFO', 'STREAM', stream)
        for at = 1, #facts, 2 do
            if facts[at] == 'last-generated-id' then last = facts[at + 1] end
        end
        return {redis.call('XLEN', stream), redis.call('MEMORY', 'USAGE', stream), first and first[1] or last, last}",
    )
});

/// The messages behind an id, counted up to a thousand: the server reads them with their bodies to count them. Keys: stream.
/// Values: id.
pub static BEHIND: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local count, from = 0, ARGV[1]
        repeat
            local page = redis.call('XRANGE', KEYS[1], '(' .. from, '+', 'COUNT', 100)
            count = count + #page
            if #page > 0 then from = page[#page][1] end
        until #page < 100 or count >= 1000
        return count",
    )
});

/// Takes a topic away. Keys: stream, topics. Values: topic.
pub static REMOVE: LazyLock<Script> =
    LazyLock::new(|| Script::new("return redis.call('DEL', KEYS[1]) + redis.call('SREM', KEYS[2], ARGV[1])"));
