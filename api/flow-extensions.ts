import type { FlowView } from '../model/flow-view.ts'
import { FlowState } from '../model/layouts.gen.ts'
import type { WireWriter } from './wire.ts'

/** google.protobuf.Any.type_url of what `writeFlowExtensions` writes. */
export const FLOW_EXTENSIONS_TYPE = 'type.googleapis.com/sluice.v1.FlowExtensions'

/** Flow.extensions: what a record says beyond flow.Flow. Makes room itself. */
export function writeFlowExtensions(out: WireWriter, view: FlowView): void {
  out.ensure(400)
  out.tag(150000, 2)
  const any = out.begin()
  out.text(1, FLOW_EXTENSIONS_TYPE)
  out.byte(0x12)
  const mark = out.begin()
  writeContent(out, view)
  out.end(mark)
  out.end(any)
}

/** Content of sluice.v1.FlowExtensions. */
function writeContent(out: WireWriter, view: FlowView): void {
  out.ensure(256)
  out.uint(1, view.packets)
  out.uint(2, view.bytes)
  out.uint(3, view.replyPackets)
  out.uint(4, view.replyBytes)
  out.uint(5, view.rttUs)
  out.uint(6, view.srttUs)
  out.uint(7, view.retransmits)
  out.uint(8, view.drops)
  if (view.kernelDropReason !== 0) out.text(9, view.context.kernelDropReason(view.kernelDropReason).name)
  if (view.dropLocation !== 0) out.text(10, view.context.dropLocation(view.dropLocation))
  out.ensure(64)
  out.uint(11, view.cause)
  out.uint(12, view.vlan)
  out.uint(13, view.cpu)
  out.uint(14, view.rule)
  if (view.isFragment) out.uint(15, 1)
  if ((view.state & FlowState.GUESSED) !== 0) out.uint(16, 1)
}
