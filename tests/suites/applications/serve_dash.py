"""A dashboard with two pages, a graph, callbacks of each kind, and one that fails."""

import dash
from dash import Input, Output, Patch, State, dcc, html, no_update

board = dash.Dash("board", use_pages=True, pages_folder="", title="Brews", assets_folder="assets")
app = board.server

dash.register_page(
    "strength",
    path="/",
    layout=html.Div([dcc.Slider(0, 10, 1, value=5, id="strength"), html.P(id="said"), dcc.Graph(id="graph")]),
)
dash.register_page("brew", path_template="/brew/<name>", layout=lambda name=None: html.H2(f"Brew {name}"))
board.layout = html.Div([html.H1("Brews ☕"), dcc.Location(id="url"), dcc.Store(id="kept"), dash.page_container])


@board.callback(Output("said", "children"), Input("strength", "value"), State("kept", "data"))
def say(strength, kept):
    if strength is None:
        raise dash.exceptions.PreventUpdate
    return f"{strength} %, {10 / strength:.1f} litres, kept {kept}"


@board.callback(Output("graph", "figure"), Output("kept", "data"), Input("strength", "value"))
def draw(strength):
    if strength == 5:
        patch = Patch()
        patch["layout"]["title"] = "five"
        return patch, no_update
    return {"data": [{"y": [strength, 2 * strength]}], "layout": {"title": str(strength)}}, {"strength": strength}


@app.route("/health")
def health():
    return {"ok": True}
