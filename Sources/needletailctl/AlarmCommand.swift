// alarm list, alarm disarm.

import NeedletailClient
import NeedletailRPC

extension Command {
  static let alarmList = Command(
    words: ["alarm", "list"], usage: "", summary: "Lists all alarms"
  ) { line throws(Failure) in try AlarmCommand.list(line) }

  static let alarmDisarm = Command(
    words: ["alarm", "disarm"], usage: "", summary: "Disarms all alarms"
  ) { line throws(Failure) in try AlarmCommand.disarm(line) }
}

enum AlarmCommand {
  static func list(_ line: ParsedLine) throws(Failure) {
    guard line.arguments.isEmpty else { throw .message("alarm list command accepts no arguments") }
    let options = try options(line)
    do { AlarmOutput(format: options.format).show(try options.makeClient().alarms(), hasHeader: true) } catch {
      throw .client(error)
    }
  }

  /// Takes back what the list names, one after the other, as etcdctl does.
  static func disarm(_ line: ParsedLine) throws(Failure) {
    guard line.arguments.isEmpty else { throw .message("alarm disarm command accepts no arguments") }
    let options = try options(line)
    let client = options.makeClient()
    var all = AlarmResponse()
    do {
      for alarm in try client.alarms().alarms { all.alarms += try client.disarm(alarm).alarms }
    } catch {
      throw .client(error)
    }
    AlarmOutput(format: options.format).show(all, hasHeader: false)
  }

  private static func options(_ line: ParsedLine) throws(Failure) -> GlobalOptions {
    let options = try GlobalOptions(line)
    if options.format == .table { throw KeyValueOutput.noTable }
    return options
  }
}

/// etcdctl 3.4's forms. The answers of a disarming are gathered without their headers.
struct AlarmOutput {
  let format: OutputFormat

  func show(_ answer: AlarmResponse, hasHeader: Bool) {
    switch format {
    case .json:
      StandardOutput.write { out in
        var object = JSONObject()
        if hasHeader { object.member("header", &out) { JSONMessages.header(answer.header, &$0) } }
        if !answer.alarms.isEmpty {
          object.member("alarms", &out) { out in
            for (at, alarm) in answer.alarms.enumerated() {
              out.append(at == 0 ? "[" : ",")
              AlarmOutput.json(alarm, &out)
            }
            out.append("]")
          }
        }
        object.close(&out)
        out.append("\n")
      }
    case .fields:
      if hasHeader { FieldLines.header(answer.header) }
      for alarm in answer.alarms {
        StandardOutput.write("\"MemberID\" : \(alarm.memberID)\n\"AlarmType\" : \(alarm.name)\n\n")
      }
    default:
      for alarm in answer.alarms { StandardOutput.write("\(alarm)\n") }
    }
  }

  private static func json(_ alarm: AlarmMember, _ out: inout OutBuffer) {
    var object = JSONObject()
    object.number("memberID", alarm.memberID, &out)
    object.number("alarm", Int64(alarm.alarm), &out)
    object.close(&out)
  }
}
