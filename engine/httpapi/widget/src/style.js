// One constructed stylesheet, which a page's content policy need not allow.
export default `
:host { all: initial; --accent: #1d4d6b; --on: #fff; --paper: #fff; --ink: #1c2730; --soft: #5d6973; --line: #dde2e6; --theirs: #eef2f4; --alert: #a3341a; color-scheme: light; }
@media (prefers-color-scheme: dark) { :host { --paper: #18212a; --ink: #e8edf1; --soft: #9fadb8; --line: #33404b; --theirs: #26323d; --alert: #ff9d80; color-scheme: dark; } }
* { box-sizing: border-box; margin: 0; }
.root { position: fixed; z-index: 2147483000; bottom: 20px; right: 20px; font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; color: var(--ink); }
.root.left { right: auto; left: 20px; }
button, textarea { font: inherit; color: inherit; }
button { cursor: pointer; }
button:disabled { cursor: default; }
:focus-visible { outline: 3px solid #e08b5c; outline-offset: 2px; }
svg { width: 24px; height: 24px; display: block; fill: none; stroke: currentColor; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round; }
.launcher { display: grid; place-items: center; margin-left: auto; width: 58px; height: 58px; border: 0; border-radius: 50%; background: var(--accent); color: var(--on); box-shadow: 0 6px 22px #0005; transition: transform .15s; }
.left .launcher { margin-left: 0; }
.launcher:hover { transform: scale(1.06); }
.panel { display: flex; flex-direction: column; width: 384px; height: min(620px, calc(100vh - 120px)); margin-bottom: 14px; background: var(--paper); border-radius: 18px; overflow: hidden; box-shadow: 0 16px 50px #0004, 0 0 0 1px #0001; animation: rise .18s ease-out; }
@keyframes rise { from { opacity: 0; transform: translateY(12px); } }
header { display: flex; align-items: center; gap: 10px; background: var(--accent); color: var(--on); padding: 15px 12px 15px 20px; min-height: 66px; }
header div { flex: 1; min-width: 0; }
h2 { font-size: 17px; font-weight: 650; line-height: 1.25; }
header p { font-size: 13px; opacity: .85; }
.bare { background: none; border: 0; padding: 8px; border-radius: 8px; }
.bare:hover { background: #fff2; }
.log { flex: 1; overflow-y: auto; overscroll-behavior: contain; padding: 18px 16px 8px; display: flex; flex-direction: column; gap: 12px; }
.log:focus-visible { outline-offset: -3px; }
.row { display: flex; flex-direction: column; align-items: flex-start; gap: 7px; max-width: 88%; }
.mine { align-self: flex-end; align-items: flex-end; }
.bubble { padding: 10px 14px; border-radius: 16px; border-bottom-left-radius: 5px; background: var(--theirs); white-space: pre-wrap; overflow-wrap: anywhere; }
.mine .bubble { background: var(--accent); color: var(--on); border-radius: 16px; border-bottom-right-radius: 5px; }
.refused .bubble, .failed .bubble, .confirm .bubble { border-radius: 5px 16px 16px 5px; }
.refused .bubble, .failed .bubble { box-shadow: inset 3px 0 var(--alert); }
.confirm .bubble { box-shadow: inset 3px 0 #d8973a; }
.choices { display: flex; flex-wrap: wrap; gap: 8px; }
.choices button { padding: 9px 15px; border-radius: 10px; border: 1px solid var(--line); background: var(--paper); text-align: left; }
.choices button:hover:enabled { border-color: var(--soft); }
.choices button:disabled { opacity: .5; }
button.primary, .choices .primary { background: var(--accent); color: var(--on); border: 1px solid #fff3; font-weight: 600; }
.sources { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: 6px; font-size: 13px; color: var(--soft); }
.sources li { border: 1px solid var(--line); border-radius: 999px; padding: 2px 10px; }
.sources a { color: inherit; }
.note { color: var(--alert); font-size: 13px; }
.note button { background: none; border: 0; color: inherit; text-decoration: underline; padding: 4px 6px; font-weight: 600; }
form { display: flex; flex-wrap: wrap; align-items: flex-end; gap: 8px; padding: 12px; border-top: 1px solid var(--line); }
textarea { flex: 1; min-width: 0; min-height: 44px; max-height: 140px; resize: none; field-sizing: content; padding: 10px 14px; border: 1px solid var(--line); border-radius: 14px; background: var(--paper); }
textarea:focus-visible { outline: 2px solid var(--soft); outline-offset: -1px; }
textarea::placeholder { color: var(--soft); opacity: 1; }
form .primary { width: 44px; height: 44px; border-radius: 14px; display: grid; place-items: center; padding: 0; }
form .primary:disabled { opacity: .4; }
form .note { width: 100%; }
.dots { display: flex; gap: 5px; padding: 15px 16px; }
.dots i { width: 7px; height: 7px; border-radius: 50%; background: var(--soft); animation: dot 1.1s infinite; }
.dots i:nth-child(2) { animation-delay: .15s; }
.dots i:nth-child(3) { animation-delay: .3s; }
@keyframes dot { 0%, 60%, 100% { opacity: .3; } 30% { opacity: 1; } }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
@media (max-width: 480px) {
  .panel { position: fixed; inset: 0; width: auto; height: auto; margin: 0; border-radius: 0; }
  .panel + .launcher { display: none; }
  textarea { font-size: 16px; }
}
@media (prefers-reduced-motion: reduce) { * { animation: none !important; transition: none !important; } }
@media (forced-colors: active) { .bubble, .launcher, .panel { border: 1px solid; } }
`;
