"""Drive a running page from a program: place a mesh, look at the region, run the edit, look at the result.

    nerf-insert app --port 7860 &
    python examples/07_drive_the_page.py http://127.0.0.1:7860 SCENE_KEY object.ply result.jpg

Without a SCENE_KEY (give `-`) it builds the bundled sample first. `client.view_api()` lists all endpoints.
"""

import base64
import sys
import time

from gradio_client import Client, handle_file


def main(url: str, scene: str, mesh: str, out: str, steps: int = 400, base_steps: int = 1500) -> dict:
    """Place a mesh, run the edit, and write an image of the result.

    Args:
        url: Address of the page.
        scene: Key of a scene; "-": the bundled sample.
        mesh: File of the mesh to insert.
        out: JPEG file to write.
        steps: Steps of the layer's fit.
        base_steps: Steps of the training, where the sample is not trained yet.

    Returns:
        The scene's layers, as the endpoint `layers` lists them.
    """
    client = Client(url, verbose=False)

    def ask(name, *words):
        return client.predict(*words, api_name=f"/{name}")

    def wait_for(job):
        while True:
            (now,) = [j for j in ask("jobs", scene)["jobs"] if j["key"] == job["key"]]
            if now["state"] in ("done", "failed", "stopped"):
                return now
            stage = now["stages"][-1] if now["stages"] else {"task": "starting", "fraction": 0, "left": ""}
            print(f"{now['state']}: {stage['task']} {stage['fraction']:.0%} {stage['left']}", file=sys.stderr)
            time.sleep(2)

    if scene == "-":
        found = ask("open_sample")
        scene = found["scene"]
        if not found["trained"]:
            print(wait_for(ask("build_scene", scene, base_steps))["state"], file=sys.stderr)

    draft = f"example{int(time.time())}"  # a name of our own for what we are about to do
    pose = ask("set_mesh", scene, draft, handle_file(mesh), {})
    print("the mesh stands at", pose["translate"], file=sys.stderr)
    print(ask("region", scene, draft)["words"], file=sys.stderr)
    ask("content", scene, draft, {"name": "from a program", "seed": 1, "steps": steps})
    print(ask("recipe", scene, draft)["command"], file=sys.stderr)

    ended = wait_for(ask("edit", scene, draft))
    if ended["state"] != "done":
        raise SystemExit(ended["message"])
    picture = ask("render", scene, "", {"yaw": 60, "pitch": 25, "distance": 0.9}, 640, "edited")
    with open(out, "wb") as file:
        file.write(base64.b64decode(picture["url"].split(",")[1]))
    return ask("layers", scene)


if __name__ == "__main__":
    url, scene, mesh, out = sys.argv[1:5]
    print(main(url, scene, mesh, out))
